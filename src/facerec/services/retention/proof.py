"""A forgetting with its proof: what was deleted, where it was looked for afterwards, what is out of reach."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from facerec.config import Settings
from facerec.db import Database, erasure
from facerec.domain import EntityKind
from facerec.errors import StorageError
from facerec.metastore import audit, changes, meta
from facerec.services.retention.files import pieces_of, search_files
from facerec.services.retention.forgetting import Check, ForgetRequest, ForgettingService, Forgotten

FORMAT = "facerec proof of deletion 1"


@dataclass(frozen=True, slots=True)
class Proof:
    """What was asked, done and found. Times in seconds since the epoch."""

    request: ForgetRequest
    store_id: str
    began_at: float
    ended_at: float
    forgotten: tuple[Forgotten, ...]
    checks: tuple[Check, ...]
    out_of_reach: tuple[str, ...]

    @property
    def confirmed(self) -> bool:
        """Whether every check was made, and passed."""
        return all(check.passed for check in self.checks)

    def as_json(self) -> dict[str, object]:
        """The proof as JSON values."""
        return {
            "Format": FORMAT,
            "StoreId": self.store_id,
            "Began": _moment(self.began_at),
            "Ended": _moment(self.ended_at),
            "Request": {
                "UserId": self.request.user_id,
                "FaceIds": list(self.request.face_ids) or None,
                "ExternalImageId": self.request.external_image_id,
                "Collections": list(self.request.collections) or "all",
                "WithFaces": self.request.with_faces,
            },
            "Deleted": [_deleted(each) for each in self.forgotten],
            "Checks": [
                {"Check": check.what, "Passed": check.passed, "Detail": check.detail} for check in self.checks
            ],
            "Confirmed": self.confirmed,
            "OutOfReach": list(self.out_of_reach),
        }

    def as_text(self) -> str:
        """The proof for people."""
        lines = [
            "PROOF OF DELETION",
            "",
            f"Database {self.store_id}; begun {_moment(self.began_at)}, ended {_moment(self.ended_at)}.",
            "",
            "Deleted",
        ]
        for each in self.forgotten:
            name = each.collection.name
            if each.user is not None:
                lines.append(f"  {name}: the user {each.user.user_id}, with the mean of its faces")
            lines += [f"  {name}: face {face.face_id} (image {face.image_id})" for face in each.faces]
            lines += [f"  {name}: the user {user_id} stays, its mean made anew" for user_id in each.renewed]
            if each.tokens:
                lines.append(f"  {name}: {each.tokens} remembered answers to requests that mentioned them")
            lines.append(f"  {name}: by change {each.collection.change_number} of the collection")
        lines += ["", "Looked for afterwards"]
        marks = {True: "not there", False: "FOUND", None: "NOT CONFIRMED"}
        lines += [f"  {check.what}: {marks[check.passed]} ({check.detail})" for check in self.checks]
        lines += ["", "Out of the reach of this command"]
        lines += [f"  - {each}" for each in self.out_of_reach]
        result = "Every check was passed." if self.confirmed else "NOT EVERY CHECK WAS PASSED."
        return "\n".join([*lines, "", result, ""])


class ForgettingWithProof:
    """Forgets people, gets them out of the files, and looks for them afterwards."""

    def __init__(
        self,
        database: Database,
        forgetting: ForgettingService,
        clock: Callable[[], float],
        *,
        index_folder: Path,
        out_of_reach: Sequence[str],
    ) -> None:
        """index_folder: of snapshots. out_of_reach: sentences on what is to be said of this installation."""
        self._database = database
        self._forgetting = forgetting
        self._clock = clock
        self._index_folder = index_folder
        self._out_of_reach = tuple(out_of_reach)

    def find(self, request: ForgetRequest) -> list[Forgotten]:
        """What would be deleted. Raises NotFound where there is nothing of it."""
        return self._forgetting.find(request)

    def forget(self, request: ForgetRequest, *, rewrite: bool = False) -> Proof:
        """Delete, and prove it. Raises NotFound where there is nothing to delete.

        rewrite: write the database (SQLite) or its tables (PostgreSQL) anew, which holds up others. What
        cannot be checked is no error once it is deleted: the proof says so.
        """
        began = self._clock()
        with self._database.read() as connection:
            store_id = meta.store_id(connection)
        forgotten = self._forgetting.forget(request)
        checks = [
            *self._forgetting.check_rows(forgotten),
            *self._forgetting.check_index(forgotten),
            self._check_files(forgotten, rewrite),
        ]
        return Proof(
            request, store_id, began, self._clock(), tuple(forgotten), tuple(checks), self._out_of_reach
        )

    def _check_files(self, forgotten: Sequence[Forgotten], rewrite: bool) -> Check:
        """Get the deleted rows out of the files, and look for their bytes there."""
        try:
            folded = (erasure.rewrite if rewrite else erasure.let_go)(self._database)
            if self._database.name == "sqlite":
                return self._search(forgotten, folded)
            done = "written anew" if rewrite else "vacuumed: no query reaches the deleted rows"
            return Check(
                "tables of the database server",
                True,
                f"{done}; the bytes of the server's files cannot be looked at from here",
            )
        except (StorageError, OSError) as error:
            return Check("bytes of the files", None, f"could not be looked at: {error}")

    def _search(self, forgotten: Sequence[Forgotten], folded: bool) -> Check:
        """Look for the bytes; the database is written anew where a page kept some."""
        patterns = self._patterns(forgotten)
        searched = search_files(self._files(), patterns)
        rewritten = ""
        if any(path.suffix != ".index" for path in searched.found):
            folded = erasure.rewrite(self._database)
            searched = search_files(self._files(), patterns)
            rewritten = ", after the database was written anew"
        found = sorted(str(path.name) for path in searched.found)
        detail = (
            f"{len(patterns)} patterns of {sum(len(each.faces) for each in forgotten)} faces looked for in "
            f"{len(searched.files)} files of {searched.nbytes} bytes{rewritten}"
        )
        if found:
            detail += f": found in {', '.join(found)}"
        if not folded:
            detail += (
                "; a reader of an older state keeps the write-ahead log from being cut off: repeat later"
            )
        return Check("bytes of the files", not found and folded, detail)

    def _patterns(self, forgotten: Sequence[Forgotten]) -> list[bytes]:
        """Face ids, and pieces of the embeddings as they were stored and in the clear.

        Embeddings that other faces have too, which stay (the same image indexed twice), are left out; so are
        ids that the audit log has, whose entries stay.
        """
        codes = {code for each in forgotten for code in each.stored}
        codes |= {
            embedding.codes
            for each in forgotten
            for vectors in each.vectors.values()
            for embedding in vectors.values()
        }
        ids = [face.face_id for each in forgotten for face in each.faces]
        with self._database.read() as connection:
            codes -= changes.stored_still(connection, sorted(codes))
            logged = audit.mentioned(connection, ids)
        patterns = [uuid.UUID(face_id).bytes for face_id in ids]
        patterns += [face_id.encode() for face_id in ids if face_id not in logged]
        patterns += [piece for code in sorted(codes) for piece in pieces_of(code)]
        return list(dict.fromkeys(patterns))

    def _files(self) -> list[Path]:
        """The database's files, and those of the index."""
        folder = self._index_folder
        return erasure.files_of(self._database) + (sorted(folder.iterdir()) if folder.is_dir() else [])


def out_of_reach(settings: Settings) -> list[str]:
    """What is to be said of copies that no command of this installation reaches."""
    said = [
        "Backups, exports and copies of the data folder that were made before: delete or expire them too.",
        "The pictures themselves, in folders and in S3, which the service never kept; delete them as well. "
        "The journals of `facerec index` (folder indexed) hold names of picture files.",
        "Collections of an import that was broken off, which nobody finds by name: finish or discard it.",
        "Blocks of a disk that files lay in before they were removed or cut off: encrypt the disk.",
        "Services that run: their indexes in memory let go at their next search of the collection or sweep "
        f"(FACEREC_SWEEP_SECONDS, here {settings.sweep_seconds:g}), and answer nothing of it before.",
        "This report, which names what was deleted.",
    ]
    if settings.audit != "off":
        said.append(
            "The audit log, which has the random ids of faces, and users as keyed hashes, for as long as its "
            "entries are kept (FACEREC_AUDIT_DAYS)."
        )
    if settings.result_cache_mib:
        said.append(
            "Results of images that running services remember: for "
            f"{settings.result_cache_seconds:g} seconds at most (FACEREC_RESULT_CACHE_SECONDS)."
        )
    if settings.database_url is not None:
        said.append(
            "PostgreSQL's own write-ahead log, its archive, replicas and base backups; and, without "
            "--rewrite, bytes of deleted rows in its files until it writes over them."
        )
    if settings.vector_store in ("qdrant", "pinecone"):
        said.append(f"Snapshots and backups that {settings.vector_store} has made of its own.")
    return said


def _deleted(each: Forgotten) -> dict[str, object]:
    vectors = {
        str(kind): sum(len(v) for (_, k), v in each.vectors.items() if k is kind) for kind in EntityKind
    }
    return {
        "CollectionId": each.collection.name,
        "UserId": each.user.user_id if each.user else None,
        "Faces": [{"FaceId": face.face_id, "ImageId": face.image_id} for face in each.faces],
        "UsersRenewed": list(each.renewed),
        "Counts": {
            "Users": int(each.user is not None),
            "Faces": len(each.faces),
            "FaceVectors": vectors[EntityKind.FACE],
            "UserVectors": vectors[EntityKind.USER],
            "RememberedAnswers": each.tokens,
        },
        "ChangeNumber": each.collection.change_number,
    }


def _moment(seconds: float) -> str:
    """ISO 8601 in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
