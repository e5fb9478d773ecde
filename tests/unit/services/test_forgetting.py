"""Forgetting people: everything of them goes, from rows, index and the bytes of the files, and is proved."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from service_house import House, open_house, picture

from facerec.domain import BoundingBox, EntityKind, NewFace, UserStatus
from facerec.errors import NotFound, StorageError
from facerec.metastore import changes, collections, faces, users
from facerec.metastore.changes import DatabaseFeed
from facerec.metastore.tables import client_tokens
from facerec.services.retention.forgetting import ForgetRequest, ForgettingService
from facerec.services.retention.proof import ForgettingWithProof
from facerec.vectors.embedded import EmbeddedStore
from facerec.vectors.quantization import dequantize, quantize_batch


@dataclass(frozen=True)
class Place:
    house: House
    folder: Path
    vectors: EmbeddedStore
    forgetting: ForgettingWithProof

    @property
    def content(self) -> dict[str, bytes]:
        """Every file there is, by name."""
        return {path.name: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}


@contextmanager
def open_place(folder: Path, database_url: str | None = None) -> Iterator[Place]:
    """A house whose index has snapshots from 20 vectors on."""
    with open_house(folder, database_url=database_url) as house:
        vectors = EmbeddedStore(folder / "vectors", DatabaseFeed(house.database), snapshot_from=20)
        forgetting = ForgettingWithProof(
            house.database,
            ForgettingService(house.database, vectors, house.clock),
            house.clock,
            index_folder=folder / "vectors",
            out_of_reach=["backups"],
        )
        yield Place(house, folder, vectors, forgetting)
        vectors.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with open_place(tmp_path) as opened:
        opened.house.collections.create("album")
        yield opened


def crowd(place: Place, count: int, *, seed: int = 0) -> dict[str, bytes]:
    """Store faces of random embeddings; codes by face id."""
    vectors = np.random.default_rng(seed).standard_normal((count, 128)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    new = [
        NewFace(
            face_id=str(uuid.uuid4()),
            image_id=str(uuid.uuid4()),
            external_image_id=f"picture-{seed}-{number}",
            box=BoundingBox(left=0.1, top=0.1, width=0.2, height=0.2),
            confidence=99.0,
            embedding=embedding,
        )
        for number, embedding in enumerate(quantize_batch(vectors))
    ]
    for start in range(0, count, 100):
        with place.house.database.write() as connection:
            album = collections.find(connection, "album", lock=True)
            faces.insert(connection, album, new[start : start + 100])
    return {face.face_id: face.embedding.codes for face in new}


def person(place: Place, user_id: str, face_ids: list[str]) -> None:
    place.house.people.create("album", user_id, client_token=f"made-{user_id}")
    place.house.people.associate("album", user_id, face_ids, threshold=0, client_token=f"tied-{user_id}")


def aggregate(place: Place, user_id: str) -> bytes:
    with place.house.database.read() as connection:
        album = collections.find(connection, "album")
        key = users.find(connection, album, user_id).key
        return changes.embeddings(connection, EntityKind.USER, [key])[key].codes


def search_everywhere(place: Place) -> None:
    """Load the index of faces and users, and have it written to disk."""
    with place.house.database.read() as connection:
        album = collections.find(connection, "album")
    probe = np.eye(1, 128, dtype=np.float32)
    for kind in EntityKind:
        place.vectors.search(album, kind, probe, limit=1, min_cosine=-1)


def test_nothing_of_a_forgotten_person_is_left_in_any_file(tmp_path: Path) -> None:
    with open_place(tmp_path) as place:
        place.house.collections.create("album")
        codes = crowd(place, 3000)
        mine = list(codes)[40:2800:300]
        person(place, "a-name-of-somebody", mine)
        mean = aggregate(place, "a-name-of-somebody")
        search_everywhere(place)
    with open_place(tmp_path) as place:  # closing wrote the snapshots, which are mapped now
        search_everywhere(place)
        (snapshot,) = (tmp_path / "vectors").iterdir()
        wanted = [codes[face_id] for face_id in mine]
        assert all(any(code in content for content in place.content.values()) for code in wanted)
        assert all(code in snapshot.read_bytes() for code in wanted)
        proof = place.forgetting.forget(ForgetRequest(user_id="a-name-of-somebody"))
        assert proof.confirmed, proof.as_text()
        left = place.content
        gone = [*wanted, mean, b"a-name-of-somebody", *(uuid.UUID(face_id).bytes for face_id in mine)]
        gone += [face_id.encode() for face_id in mine]
        gone += [code[start : start + 16] for code in (*wanted, mean) for start in range(0, 112, 16)]
        assert [(name, text) for name, content in left.items() for text in gone if text in content] == []
        stays = [code for face_id, code in codes.items() if face_id not in mine]
        assert all(code in left["facerec.db"] for code in stays)
        assert place.house.collections.describe("album").face_count == 3000 - len(mine)


def test_a_face_in_the_write_ahead_log_is_found_where_the_log_is_not_folded(place: Place) -> None:
    """That the search for bytes finds what is there: otherwise it would prove nothing."""
    codes = crowd(place, 200)
    face_id = next(iter(codes))
    with place.house.database.read() as reader:  # a reader of the state before keeps the log from being cut
        collections.find(reader, "album")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("facerec.db.erasure.FOLD_SECONDS", 0.2)
            proof = place.forgetting.forget(ForgetRequest(face_ids=(face_id,)))
    assert not proof.confirmed
    (failed,) = [check for check in proof.checks if not check.passed]
    assert failed.what == "bytes of the files"
    assert "facerec.db-wal" in failed.detail


def test_what_others_have_stays(place: Place) -> None:
    codes = crowd(place, 60)
    mine, others = list(codes)[:5], list(codes)[5:]
    person(place, "ann", mine)
    person(place, "ben", others[:3])
    proof = place.forgetting.forget(ForgetRequest(user_id="ann", collections=("album",)))
    (done,) = proof.forgotten
    assert sorted(face.face_id for face in done.faces) == sorted(mine)
    assert [user.user_id for user in place.house.people.list("album").items] == ["ben"]
    assert {face.face_id for face in place.house.faces.list("album").page.items} == set(others)
    assert done.tokens == 2
    with place.house.database.read() as connection:
        tokens = set(connection.execute(client_tokens.select().with_only_columns(client_tokens.c.token)))
    assert {token for (token,) in tokens} == {"made-ben", "tied-ben"}


def test_a_users_faces_may_stay(place: Place) -> None:
    codes = crowd(place, 10)
    person(place, "ann", list(codes)[:2])
    proof = place.forgetting.forget(ForgetRequest(user_id="ann", with_faces=False))
    assert proof.confirmed, proof.as_text()
    assert place.house.people.list("album").items == ()
    assert place.house.collections.describe("album").face_count == 10


def test_faces_are_forgotten_by_their_ids_or_their_pictures(place: Place) -> None:
    codes = crowd(place, 30)
    first, second, third, *_ = codes
    person(place, "ann", [first, second])
    proof = place.forgetting.forget(ForgetRequest(face_ids=(first,)))
    assert proof.confirmed, proof.as_text()
    assert proof.forgotten[0].renewed == ("ann",)
    (ann,) = place.house.people.list("album").items
    assert (ann.face_count, ann.status) == (1, UserStatus.ACTIVE)
    assert place.forgetting.forget(ForgetRequest(external_image_id="picture-0-2")).confirmed
    left = {face.face_id for face in place.house.faces.list("album").page.items}
    assert left == set(codes) - {first, third}
    with pytest.raises(NotFound, match="nothing to forget"):
        place.forgetting.forget(ForgetRequest(face_ids=(first,)))


def test_the_same_image_indexed_twice_does_not_spoil_the_proof(place: Place) -> None:
    """Both faces have the same bytes, and those of the one that stays are in the files rightly."""
    twice = [place.house.faces.index("album", picture("ann")).indexed[0].face.face_id for _ in range(2)]
    assert place.forgetting.forget(ForgetRequest(face_ids=(twice[0],))).confirmed
    assert place.forgetting.forget(ForgetRequest(face_ids=(twice[1],))).confirmed


def test_all_collections_are_looked_in(place: Place) -> None:
    place.house.collections.create("second")
    for name in ("album", "second"):
        place.house.people.create(name, "ann")
        (face,) = place.house.faces.index(name, picture("ann")).indexed
        place.house.people.associate(name, "ann", [face.face.face_id])
    proof = place.forgetting.forget(ForgetRequest(user_id="ann"))
    assert [each.collection.name for each in proof.forgotten] == ["album", "second"]
    assert proof.confirmed, proof.as_text()


def test_a_store_that_cannot_be_asked_leaves_the_proof_unconfirmed_and_the_deletion_done(
    place: Place,
) -> None:
    codes = crowd(place, 5)
    place.vectors.close()
    with pytest.raises(StorageError):
        search_everywhere(place)
    proof = place.forgetting.forget(ForgetRequest(face_ids=(next(iter(codes)),)))
    assert not proof.confirmed
    assert [check.passed for check in proof.checks] == [True, None, True]
    assert "NOT CONFIRMED" in proof.as_text()
    assert place.house.collections.describe("album").face_count == 4


def test_the_proof_is_json_and_text_that_say_the_same(place: Place) -> None:
    codes = crowd(place, 5)
    face_id = next(iter(codes))
    proof = place.forgetting.forget(ForgetRequest(face_ids=(face_id,)))
    told = json.loads(json.dumps(proof.as_json()))
    assert told["Confirmed"] is True
    assert told["Deleted"][0]["Faces"][0]["FaceId"] == face_id
    assert told["Deleted"][0]["Counts"]["FaceVectors"] == 1
    assert all(check["Passed"] for check in told["Checks"])
    text = proof.as_text()
    assert face_id in text
    assert "Every check was passed." in text
    assert codes[face_id].hex() not in text


def test_over_postgresql_rows_and_index_are_proved_and_its_files_named_out_of_reach(
    tmp_path: Path, postgres_url: str
) -> None:
    with open_place(tmp_path, postgres_url) as place:
        place.house.collections.create("album")
        codes = crowd(place, 50)
        mine = list(codes)[:4]
        person(place, "ann", mine)
        search_everywhere(place)
        for rewrite in (False, True):
            request = ForgetRequest(face_ids=(mine[0],)) if rewrite else ForgetRequest(face_ids=(mine[1],))
            proof = place.forgetting.forget(request, rewrite=rewrite)
            assert proof.confirmed, proof.as_text()
            assert ("written anew" if rewrite else "vacuumed") in proof.as_text()
        proof = place.forgetting.forget(ForgetRequest(user_id="ann"))
        assert proof.confirmed, proof.as_text()
        assert len(proof.forgotten[0].faces) == 2
        album = place.house.collections.describe("album")
        for face_id in mine:
            probe = np.frombuffer(codes[face_id], np.int8).astype(np.float32)[None]
            (hits,) = place.vectors.search(
                album, EntityKind.FACE, probe / np.linalg.norm(probe), limit=1, min_cosine=0.9
            )
            assert hits == []


def test_no_embedding_is_shown_by_a_forgotten_persons_value(place: Place) -> None:
    codes = crowd(place, 3)
    (found,) = place.forgetting.find(ForgetRequest(face_ids=(next(iter(codes)),)))
    assert dequantize(next(iter(found.vectors[found.collection.key, EntityKind.FACE].values()))).shape == (
        128,
    )
    assert "codes" not in repr(found)
