"""`facerec index`: a folder of pictures into a collection, resumable at any instant."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Annotated

import typer

from facerec.bootstrap import Service, open_service
from facerec.cli.auditing import audited
from facerec.cli.output import AsJson, counting, duration, note, print_json, say
from facerec.cli.pictures import ExternalIds, at_once, external_id, pictures_in
from facerec.config import read_settings
from facerec.domain import Collection, LocalImage, QualityFilter
from facerec.errors import AlreadyExists, FacerecError
from facerec.services.faces import IndexResult

JOURNALS = "indexed"
"""Folder, in the data folder, of what has been indexed from where."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture of the folder."""

    path: Path
    external_id: str | None
    stamp: str
    """Path, size and time of change: the same for a file that is as it was."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which faces of a picture are stored, and for how many seconds (None: as the collection says)."""

    max_faces: int | None
    quality_filter: QualityFilter
    expires_in: int | None


class Journal:
    """Which files a collection already has: what lets a second run skip what the first one did.

    A line is added only after the faces are on disk. A run that is killed between the two indexes one
    picture again, which stores nothing twice because the external id is the same.
    """

    def __init__(self, data_dir: Path, collection: Collection, folder: Path) -> None:
        # A collection that is deleted and made anew has another time of creation, and so another journal.
        name = f"{collection.key}-{int(collection.created_at * 1000)}.jsonl"
        self._folder = str(folder.resolve())
        self._path = data_dir / JOURNALS / name
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._done = self._read()
        self._file: IO[str] = self._path.open("a", encoding="utf-8")

    def has(self, entry: Entry) -> bool:
        """Whether that very file has been indexed from that folder."""
        return (self._folder, entry.stamp) in self._done

    def add(self, entry: Entry) -> None:
        """Note that the file is done."""
        self._file.write(json.dumps([self._folder, entry.stamp]) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self) -> set[tuple[str, str]]:
        if not self._path.exists():
            return set()
        done = set()
        for line in self._path.read_text("utf-8").splitlines():
            try:
                folder, stamp = json.loads(line)
            except ValueError:
                continue  # a line that was cut off by a crash: that picture is indexed again
            done.add((folder, stamp))
        return done


def index(
    folder: Annotated[Path, typer.Argument(help="Folder of pictures; the folders in it are searched too.")],
    collection: Annotated[str, typer.Option(help="Collection to index into.")],
    create: Annotated[
        bool, typer.Option("--create", help="Create the collection if it does not exist.")
    ] = False,
    external_ids: Annotated[
        ExternalIds,
        typer.Option(help="External image id of each picture: its path in the folder, its name, or none."),
    ] = ExternalIds.PATH,
    max_faces: Annotated[int | None, typer.Option(min=1, max=100, help="Most faces of a picture.")] = None,
    quality_filter: Annotated[
        QualityFilter, typer.Option(help="Which faces are too poor.")
    ] = QualityFilter.AUTO,
    expires_in: Annotated[
        str | None,
        typer.Option(
            help="How long new faces are kept: 90s, 15m, 12h, 30d, 8w or forever. "
            "Default: as long as the collection keeps faces."
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Look at pictures again that an earlier run did.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Index every picture of a folder. Run it again to go on after a break, or to add new pictures.

    Nothing is stored twice: a picture keeps its external id, and what is done is remembered.
    """
    settings = read_settings()
    seconds = None if expires_in is None else duration(expires_in)
    entries = _entries(folder, external_ids)
    with open_service(settings) as service:
        if create:
            _create(service, collection)
        target = service.collections.describe(collection)
        journal = Journal(settings.data_dir, target, folder)
        try:
            waiting = [entry for entry in entries if again or not journal.has(entry)]
            faces, left_out, failures = _index_all(
                service,
                collection,
                waiting,
                journal,
                Choice(max_faces, quality_filter, seconds),
                settings.threads + 1,
            )
        finally:
            journal.close()
        count = service.collections.describe(collection).face_count
    skipped = len(entries) - len(waiting)
    if as_json:
        print_json(
            {
                "CollectionId": collection,
                "Pictures": len(entries),
                "AlreadyIndexed": skipped,
                "FacesIndexed": faces,
                "FacesLeftOut": left_out,
                "FaceCount": count,
                "Failures": [{"Path": str(entry.path), "Message": message} for entry, message in failures],
            }
        )
    else:
        already = f" ({skipped} of them before)" if skipped else ""
        say(
            f"{len(entries) - len(failures)} of {len(entries)} pictures indexed{already}: {faces} faces "
            f"stored, {left_out} left out for their quality. {collection} holds {count} faces."
        )
        for entry, message in failures:
            note(f"{entry.path}: {message}")
    if failures:
        raise typer.Exit(1)


def _create(service: Service, collection: str) -> None:
    try:
        with audited(service.audit, "collections create", collection):
            service.collections.create(collection)
    except AlreadyExists:
        return
    note(f"Created the collection {collection}.")


def _entries(folder: Path, kind: ExternalIds) -> list[Entry]:
    entries = []
    for path in pictures_in(folder):
        relative = PurePosixPath(path.relative_to(folder).as_posix())
        status = path.stat()
        stamp = f"{relative}|{kind}|{status.st_size}|{status.st_mtime_ns}"
        entries.append(Entry(path, external_id(relative, kind), stamp))
    return entries


def _index_all(
    service: Service,
    collection: str,
    entries: list[Entry],
    journal: Journal,
    choice: Choice,
    workers: int,
) -> tuple[int, int, list[tuple[Entry, str]]]:
    """(faces stored, faces left out, [(entry, why it failed)])."""

    def work(entry: Entry) -> IndexResult:
        named = [] if entry.external_id is None else [entry.external_id]
        with audited(service.audit, "index", collection, people=named) as written:
            result = service.faces.index(
                collection,
                LocalImage(entry.path),
                external_image_id=entry.external_id,
                max_faces=choice.max_faces,
                quality_filter=choice.quality_filter,
                expires_in=choice.expires_in,
            )
            written.faces += [one.face.face_id for one in result.indexed]
        return result

    faces = left_out = 0
    failures = []
    with counting("indexing", len(entries)) as advance, at_once(work, entries, workers) as jobs:
        for entry, future in jobs:
            advance()
            error = future.exception()
            if isinstance(error, FacerecError):
                failures.append((entry, error.message))
                continue
            result = future.result()
            journal.add(entry)
            faces += len(result.indexed)
            left_out += len(result.unindexed)
    return faces, left_out, sorted(failures, key=lambda failure: failure[0].path)
