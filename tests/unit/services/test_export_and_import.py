"""Exports: written, read by another program, damaged, and brought into another database."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from export_reader import read_export
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facerec.db import Database
from facerec.domain import Collection, CollectionKey, EmbeddingContract, QuantizedEmbedding
from facerec.errors import AlreadyExists, Conflict, InvalidParameter, NotFound, UnreadableFile
from facerec.metastore import collections, open_at, tags, transfer
from facerec.metastore.tables import collections as collection_rows
from facerec.metastore.tables import faces as face_rows
from facerec.metastore.tables import metadata
from facerec.metastore.tables import users as user_rows
from facerec.metastore.transfer import FaceRows, UserRows
from facerec.services.transfer import container
from facerec.services.transfer.container import Kind, Seal, encode, first_line
from facerec.services.transfer.exporting import export
from facerec.services.transfer.importing import Importer, OnConflict, Outcome, abandon
from facerec.services.transfer.reading import inspect
from facerec.services.transfer.rows import encode_faces
from facerec.vectors.quantization import quantize_batch

DIMENSION = 32
CONTRACT = EmbeddingContract(id="contract", pack="pack", model_version="2.1", dimension=DIMENSION)


def make_collection(
    database: Database, name: str = "album", *, faces: int = 300, users: int = 3, seed: int = 1
) -> Collection:
    """A collection of random faces; every third one is of a user, whose last one has no faces."""
    chance = np.random.default_rng(seed)
    with database.write() as connection:
        made = collections.insert(connection, name=name, contract=CONTRACT, created_at=1_700_000_000.25)
        tags.put(connection, made, {"farbe": "grün", "leer": ""})
        owners = [int(n) % (users - 1) if users > 1 and n % 3 == 0 else None for n in range(faces)]
        if users:
            counts = [owners.count(place) for place in range(users)]
            vectors = vectors_of(chance, users)
            transfer.add_users(
                connection,
                made.key,
                UserRows(
                    user_ids=[f"user {place} ü" for place in range(users)],
                    face_counts=counts,
                    scales=[
                        vector.scale if count else None for vector, count in zip(vectors, counts, strict=True)
                    ],
                    codes=[
                        vector.codes if count else None for vector, count in zip(vectors, counts, strict=True)
                    ],
                    metadata=['{"department": "ä"}' if n % 2 else None for n in range(users)],
                    created_at=[1_700_000_000.25 + n if n % 3 else None for n in range(users)],
                    updated_at=[1_800_000_000.5 + n if n % 3 else None for n in range(users)],
                    versions=[n + 1 for n in range(users)],
                ),
            )
        keys = transfer.keys_of_users(connection, made.key)
        if faces:
            transfer.add_faces(
                connection,
                made.key,
                replace(
                    some_faces(chance, faces),
                    users=[None if owner is None else keys[owner] for owner in owners],
                ),
            )
    with database.read() as connection:
        return collections.find(connection, name)


def vectors_of(chance: np.random.Generator, count: int) -> list[QuantizedEmbedding]:
    vectors = chance.standard_normal((count, DIMENSION)).astype(np.float32)
    return quantize_batch(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def some_faces(chance: np.random.Generator, count: int) -> FaceRows:
    vectors = vectors_of(chance, count)
    return FaceRows(
        face_ids=[chance.bytes(16) for _ in range(count)],
        image_ids=[chance.bytes(16) for _ in range(count)],
        external_image_ids=["ä" * 255 if n == 1 else None if n % 5 == 0 else f"a/{n}" for n in range(count)],
        boxes=[chance.random(4).astype("<f4").tobytes() for _ in range(count)],
        confidences=[float(value) for value in chance.random(count) * 100],
        users=[None] * count,
        sources=[f"s3://bucket/{n}" if n % 2 else None for n in range(count)],
        stored_at=list(range(count)),
        expires_at=[None if n % 4 else 2_000_000_000 + n for n in range(count)],
        qualities=[n % 101 if n % 3 else None for n in range(count)],
        scales=[vector.scale for vector in vectors],
        codes=[vector.codes for vector in vectors],
    )


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_at(tmp_path / "source")
    yield opened
    opened.close()


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Database]:
    opened = open_at(tmp_path / "target")
    yield opened
    opened.close()


def bring(database: Database, path: Path, **options: object) -> list[tuple[str, Outcome]]:
    done = Importer(database, path, inspect(path), **options).run()  # type: ignore[arg-type]
    return [(one.name, one.outcome) for one in done]


def held(database: Database, name: str = "album") -> list[object]:
    """Everything that a collection holds, but what is taken anew in another database."""
    own = {"key", "number", "collection_key", "user_key"}
    with database.read() as connection:
        found = collections.find(connection, name)
        owner = (
            sa.select(user_rows.c.user_id).where(user_rows.c.key == face_rows.c.user_key).scalar_subquery()
        )
        face_columns = [column for column in face_rows.c if column.name not in own]
        user_columns = [column for column in user_rows.c if column.name not in own]
        faces = sa.select(*face_columns, owner).where(face_rows.c.collection_key == found.key)
        users = sa.select(*user_columns).where(user_rows.c.collection_key == found.key)
        return [
            replace(found, key=CollectionKey(0), change_number=0),
            collections.pack_of(connection, found.key),
            tags.read(connection, found),
            [tuple(row) for row in connection.execute(faces.order_by(face_rows.c.number))],
            [tuple(row) for row in connection.execute(users.order_by(user_rows.c.key))],
        ]


def test_every_column_is_carried_or_left_on_purpose() -> None:
    """Whoever adds a column decides here whether it moves (a key of an export) or is the database's own."""
    assert set(face_rows.c.keys()) == {
        *("face_id", "image_id", "external_image_id", "box", "confidence", "user_key"),
        *("scale", "codes", "source", "stored_at", "expires_at", "quality"),
        *("key", "collection_key", "number"),  # taken anew
    }
    assert set(user_rows.c.keys()) == {
        *("user_id", "face_count", "scale", "codes"),
        *("metadata", "created_at", "updated_at", "version"),
        *("key", "collection_key", "number"),  # taken anew
    }
    assert set(collection_rows.c.keys()) == {
        *("name", "pack", "contract_id", "model_version", "dimension", "created_at", "face_ttl"),
        *("face_count", "user_count"),
        *("key", "change_number"),  # taken anew
        *("twin_key", "pruned_to"),  # of this database's models and past alone
    }
    assert set(metadata.tables) >= {"faces", "users", "collections", "tags", "access_keys"}


def test_a_collection_arrives_as_it_was(database: Database, target: Database, tmp_path: Path) -> None:
    make_collection(database)
    exported = export(database, tmp_path / "file")
    assert (exported.collections, exported.faces, exported.users) == ((("album", 3, 300),), 300, 3)
    assert exported.size == (tmp_path / "file").stat().st_size
    assert bring(target, tmp_path / "file") == [("album", Outcome.IMPORTED)]
    assert held(target) == held(database)
    with target.read() as connection:
        found = collections.find(connection, "album")
        numbers = connection.scalars(sa.select(face_rows.c.number).order_by(face_rows.c.key)).all()
        # Two users have vectors: their changes come first, and an index sees every number once.
        assert list(numbers) == list(range(3, 303))
        assert found.change_number == 302


def test_another_program_reads_it(database: Database, tmp_path: Path) -> None:
    album = make_collection(database)
    make_collection(database, "empty", faces=0, users=0)
    export(database, tmp_path / "file")
    read = read_export(tmp_path / "file")
    assert [c.head["name"] for c in read.collections] == ["album", "empty"]
    assert read.collections[0].head["tags"] == {"farbe": "grün", "leer": ""}
    assert read.collections[0].head["change_number"] == album.change_number
    with database.read() as connection:
        stored = collections.find(connection, "album")
        rows = next(transfer.read_faces(connection, stored.key, 1000))
    assert [bytes.fromhex(f["face_id"].replace("-", "")) for f in read.collections[0].faces] == list(
        rows.face_ids
    )
    assert [f["external_image_id"] for f in read.collections[0].faces] == list(rows.external_image_ids)
    assert [struct.pack("<4f", *f["box"]) for f in read.collections[0].faces] == list(rows.boxes)
    assert [struct.pack("<32b", *f["codes"]) for f in read.collections[0].faces] == list(rows.codes)
    assert [f["expires_at"] for f in read.collections[0].faces] == list(rows.expires_at)
    assert [f["user_id"] for f in read.collections[0].faces][:4] == ["user 0 ü", None, None, "user 1 ü"]


def test_an_empty_installation(database: Database, target: Database, tmp_path: Path) -> None:
    assert export(database, tmp_path / "file").collections == ()
    assert bring(target, tmp_path / "file") == []


def test_users_without_faces_and_long_names(database: Database, target: Database, tmp_path: Path) -> None:
    name = "n" * 255
    make_collection(database, name, faces=0, users=1)
    export(database, tmp_path / "file")
    bring(target, tmp_path / "file")
    assert held(target, name) == held(database, name)


def test_importing_twice_stores_nothing_twice(database: Database, target: Database, tmp_path: Path) -> None:
    make_collection(database)
    export(database, tmp_path / "file")
    bring(target, tmp_path / "file")
    before = held(target)
    assert bring(target, tmp_path / "file") == [("album", Outcome.PRESENT)]
    assert held(target) == before
    with target.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(collection_rows)) == 1


def test_conflicts(database: Database, target: Database, tmp_path: Path) -> None:
    make_collection(database)
    export(database, tmp_path / "file")
    make_collection(target, faces=7, seed=2)
    before = held(target)
    with pytest.raises(AlreadyExists, match="album exists"):
        bring(target, tmp_path / "file")
    assert bring(target, tmp_path / "file", on_conflict=OnConflict.SKIP) == [("album", Outcome.SKIPPED)]
    assert held(target) == before
    renamed = bring(target, tmp_path / "file", renamed={"album": "second"})
    assert renamed == [("second", Outcome.IMPORTED)]
    assert held(target) == before
    assert held(target, "second")[3:] == held(database)[3:]
    assert bring(target, tmp_path / "file", on_conflict=OnConflict.REPLACE) == [("album", Outcome.REPLACED)]
    assert held(target) == held(database)
    with target.read() as connection:
        assert len(collections.awaiting_removal(connection)) == 1


def test_names_that_cannot_be(database: Database, target: Database, tmp_path: Path) -> None:
    make_collection(database)
    make_collection(database, "other", faces=1, seed=2)
    export(database, tmp_path / "file")
    for renamed in ({"album": "~import/x"}, {"album": "other"}, {"album": "n" * 256}):
        with pytest.raises(InvalidParameter):
            bring(target, tmp_path / "file", renamed=renamed)
    with pytest.raises(NotFound, match="it holds: album, other"):
        bring(target, tmp_path / "file", names=["third"])
    assert bring(target, tmp_path / "file", names=["other"]) == [("other", Outcome.IMPORTED)]
    with pytest.raises(NotFound):
        export(database, tmp_path / "file", ["third"])


def test_nobody_sees_a_collection_before_it_is_whole(
    database: Database, target: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off and taken up again it holds what it should; given up it leaves nothing."""
    make_collection(database, faces=5000)
    export(database, tmp_path / "file")
    content = inspect(tmp_path / "file")

    class BrokenOff(Exception):
        pass

    def stop_at_2000(done: int, _all: int) -> None:
        if done >= 2000:
            raise BrokenOff

    monkeypatch.setattr("facerec.services.transfer.rows.MOST_ROWS", 1000)
    with pytest.raises(BrokenOff):
        Importer(target, tmp_path / "file", content).run(stop_at_2000)
    with target.read() as connection:
        assert transfer.every_collection(connection) == []
        with pytest.raises(NotFound):
            collections.find(connection, "album")
    (one,) = Importer(target, tmp_path / "file", content).run()
    assert (one.outcome, one.resumed >= 2000) == (Outcome.IMPORTED, True)
    assert held(target) == held(database)

    with pytest.raises(BrokenOff):
        Importer(target, tmp_path / "file", content, renamed={"album": "b"}).run(stop_at_2000)
    assert abandon(target) == 1
    assert abandon(target) == 0
    with target.read() as connection:
        assert [found.name for found in transfer.every_collection(connection)] == ["album"]


def test_two_imports_of_one_file_at_once(database: Database, target: Database, tmp_path: Path) -> None:
    make_collection(database, faces=5000)
    export(database, tmp_path / "file")
    content = inspect(tmp_path / "file")
    met: list[Exception] = []

    def let_another_one_in(done: int, _all: int) -> None:
        if not met:
            try:
                Importer(target, tmp_path / "file", content).run()
            except Conflict as error:
                met.append(error)

    with pytest.raises(Conflict, match="Another import"):
        Importer(target, tmp_path / "file", content).run(let_another_one_in)
    assert held(target) == held(database)


def test_an_export_goes_on_where_it_stopped(database: Database, tmp_path: Path) -> None:
    make_collection(database, "first", faces=9000)
    make_collection(database, "second", faces=500, seed=2)
    whole = export(database, tmp_path / "file", clock=lambda: 5.0)
    bytes_of_it = (tmp_path / "file").read_bytes()
    for cut in (5, 40, 3000, len(bytes_of_it) // 2, len(bytes_of_it) - 100, len(bytes_of_it)):
        (tmp_path / "again.part").write_bytes(bytes_of_it[:cut])
        again = export(database, tmp_path / "again", clock=lambda: 5.0)
        assert (tmp_path / "again").read_bytes() == bytes_of_it
        assert not (tmp_path / "again.part").exists()
        assert again.kept <= whole.faces
    assert again.kept == whole.faces

    # What has changed meanwhile is in the file: it is as of one moment, that of the last run.
    with database.write() as connection:
        second = collections.find(connection, "second", lock=True)
        tags.put(connection, second, {"new": "tag"})
    (tmp_path / "again.part").write_bytes(bytes_of_it[: len(bytes_of_it) - 100])
    assert export(database, tmp_path / "again").kept == 9000
    assert read_export(tmp_path / "again").collections[1].head["tags"]["new"] == "tag"


def test_only_one_export_writes_a_file(database: Database, tmp_path: Path) -> None:
    make_collection(database)
    met: list[Exception] = []

    def export_too(_done: int, _all: int) -> None:
        if not met:
            with pytest.raises(Conflict) as raised:
                export(database, tmp_path / "file")
            met.append(raised.value)

    export(database, tmp_path / "file", progress=export_too)
    assert len(met) == 1
    read_export(tmp_path / "file")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


@pytest.fixture(scope="module")
def undamaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undamaged")
    database = open_at(folder)
    make_collection(database, faces=200)
    make_collection(database, "other", faces=5, seed=3)
    export(database, folder / "file")
    database.close()
    return folder / "file"


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damage_is_always_found(undamaged: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(undamaged.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    (tmp_path / "damaged").write_bytes(content)
    with pytest.raises(UnreadableFile) as raised:
        inspect(tmp_path / "damaged")
    if place >= len(first_line()):
        named = int(raised.value.message.partition("at byte ")[2].split()[0])
        assert named <= place  # the block that the byte lies in
        assert "damaged" in raised.value.message


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_file_cut_short_or_with_more_is_found(undamaged: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = undamaged.read_bytes()
    (tmp_path / "cut").write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(UnreadableFile):
        inspect(tmp_path / "cut")
    (tmp_path / "long").write_bytes(content + data.draw(st.binary(min_size=1, max_size=100)))
    with pytest.raises(UnreadableFile):
        inspect(tmp_path / "long")


def blocks_of(path: Path) -> list[container.Block]:
    with path.open("rb") as stream:
        return list(container.BlockReader(stream, path.name).blocks())


def write_blocks(path: Path, blocks: list[tuple[Kind, bytes]]) -> Path:
    """A file of these blocks, every checksum right: what only somebody with intent makes."""
    seal = Seal()
    written = [first_line()]
    for number, (kind, content) in enumerate(blocks):
        if kind is Kind.END:
            digest = f'"digest":"{seal.text()}"'.encode()
            content = (
                content[: content.index(b'"digest"')] + digest + content[content.index(b'"digest"') + 75 :]
            )
        block, own = encode(kind, number, content)
        seal.add(own)
        written.append(block)
    path.write_bytes(b"".join(written))
    return path


def test_blocks_that_are_missing_doubled_or_moved(undamaged: Path, tmp_path: Path) -> None:
    blocks = [(block.kind, block.content) for block in blocks_of(undamaged)]
    inspect(write_blocks(tmp_path / "same", blocks))
    for place in range(len(blocks)):
        with pytest.raises(UnreadableFile):
            inspect(write_blocks(tmp_path / "missing", blocks[:place] + blocks[place + 1 :]))
        with pytest.raises(UnreadableFile):
            inspect(write_blocks(tmp_path / "doubled", blocks[: place + 1] + blocks[place:]))
        if place:
            moved = [*blocks[: place - 1], blocks[place], blocks[place - 1], *blocks[place + 1 :]]
            with pytest.raises(UnreadableFile):
                inspect(write_blocks(tmp_path / "moved", moved))


def test_a_newer_format_is_told(undamaged: Path, tmp_path: Path) -> None:
    content = undamaged.read_bytes().replace(b"facerec-export 1\n", b"facerec-export 2\n", 1)
    (tmp_path / "newer").write_bytes(content)
    with pytest.raises(UnreadableFile, match="format 2 of a newer facerec"):
        inspect(tmp_path / "newer")
    (tmp_path / "none").write_bytes(b"PK\x03\x04")
    with pytest.raises(UnreadableFile, match="no export of facerec"):
        inspect(tmp_path / "none")


def test_no_block_becomes_larger_than_it_says(tmp_path: Path) -> None:
    """A block that would fill the memory is refused by its header, or when it exceeds it."""
    bomb = zlib.compress(bytes(100 << 20), 9)
    for stated in (10, container.LARGEST_BLOCK, container.LARGEST_BLOCK + 1, 0xFFFFFFFF):
        header = struct.pack("<4sIII", b"HEAD", 0, len(bomb), stated)
        digest = hashlib.sha256(header + bomb).digest()
        (tmp_path / "bomb").write_bytes(first_line() + header + bomb + digest)
        with pytest.raises(UnreadableFile):
            inspect(tmp_path / "bomb")
    (tmp_path / "bomb").write_bytes(first_line() + struct.pack("<4sIII", b"HEAD", 0, 0xFFFFFFF0, 10))
    with pytest.raises(UnreadableFile, match="makes no sense"):
        inspect(tmp_path / "bomb")


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        (Kind.COLLECTION, b'"name":"album"', b'"name":"~import/x"'),
        (Kind.COLLECTION, b'"name":"album"', b'"name":"\\u0000"'),
        (Kind.COLLECTION, b'"name":"album"', b'"name":"\\ud800"'),
        (Kind.COLLECTION, b'"name":"album"', b'"name":["album"]'),
        (Kind.COLLECTION, b'"name":"album"', b'"name":""'),
        (Kind.COLLECTION, b'"dimension":32', b'"dimension":33'),
        (Kind.COLLECTION, b'"dimension":32', b'"dimension":1e9'),
        (Kind.COLLECTION, b'"face_count":200', b'"face_count":201'),
        (Kind.COLLECTION, b'"user_count":3', b'"user_count":4'),
        (Kind.COLLECTION, b'"created_at":1700000000.25', b'"created_at":NaN'),
        (Kind.COLLECTION, b'"tags":{', b'"tags":{"x":1,'),
        (Kind.COLLECTION, b"{", b"[" * 100_000),
        (Kind.END, b'"faces":205', b'"faces":206'),
    ],
)
def test_values_that_no_export_has(
    undamaged: Path, tmp_path: Path, kind: Kind, old: bytes, new: bytes
) -> None:
    blocks = [(block.kind, block.content) for block in blocks_of(undamaged)]
    place = next(place for place, (found, content) in enumerate(blocks) if found is kind and old in content)
    blocks[place] = (kind, blocks[place][1].replace(old, new, 1))
    with pytest.raises(UnreadableFile):
        inspect(write_blocks(tmp_path / "wrong", blocks))


def wrong_faces() -> Iterator[tuple[str, FaceRows]]:
    right = some_faces(np.random.default_rng(5), 200)
    yield "not of length 1", replace(right, scales=[*right.scales[:-1], right.scales[-1] * 2])
    yield "not of length 1", replace(right, scales=[*right.scales[:-1], float("nan")])
    yield "not of length 1", replace(right, codes=[*right.codes[:-1], bytes(DIMENSION)])
    yield "-128", replace(right, codes=[*right.codes[:-1], b"\x80" * DIMENSION])
    yield "confidence", replace(right, confidences=[*right.confidences[:-1], 100.5])
    yield "confidence", replace(right, confidences=[*right.confidences[:-1], float("nan")])
    yield "box", replace(right, boxes=[*right.boxes[:-1], struct.pack("<4f", 0, 0, float("inf"), 1)])
    yield "moment", replace(right, expires_at=[*right.expires_at[:-1], -2])
    yield "external_image_id", replace(right, external_image_ids=["x" * 256, *right.external_image_ids[1:]])
    yield "character", replace(right, external_image_ids=["\0", *right.external_image_ids[1:]])
    yield "user whom", replace(right, users=[7, *right.users[1:]])


@pytest.mark.parametrize(("why", "rows"), list(wrong_faces()))
def test_faces_that_no_export_has(undamaged: Path, tmp_path: Path, why: str, rows: FaceRows) -> None:
    blocks = [(block.kind, block.content) for block in blocks_of(undamaged)]
    place = next(place for place, (kind, _) in enumerate(blocks) if kind is Kind.FACES)
    blocks[place] = (Kind.FACES, encode_faces(rows, array("q", range(1, 8))))
    with pytest.raises(UnreadableFile, match=why):
        inspect(write_blocks(tmp_path / "wrong", blocks))


def test_a_face_that_comes_twice(undamaged: Path, target: Database, tmp_path: Path) -> None:
    right = some_faces(np.random.default_rng(5), 200)
    blocks = [(block.kind, block.content) for block in blocks_of(undamaged)]
    place = next(place for place, (kind, _) in enumerate(blocks) if kind is Kind.FACES)
    rows = replace(right, face_ids=[right.face_ids[1], *right.face_ids[1:]])
    blocks[place] = (Kind.FACES, encode_faces(rows, array("q")))
    path = write_blocks(tmp_path / "twice", blocks)
    with pytest.raises(InvalidParameter, match="face id comes twice"):
        bring(target, path)
    # And where users say that they have faces, and have none.
    blocks[place] = (Kind.FACES, encode_faces(right, array("q")))
    path = write_blocks(tmp_path / "alone", blocks)
    with pytest.raises(UnreadableFile, match="other numbers of faces"):
        bring(target, path)
    with target.read() as connection:
        assert transfer.every_collection(connection) == []


def test_a_face_takes_few_bytes(database: Database, tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    wide = EmbeddingContract(id="wide", pack="pack", model_version="1", dimension=512)
    vectors = chance.standard_normal((4000, 512)).astype(np.float32)
    stored = quantize_batch(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    with database.write() as connection:
        made = collections.insert(connection, name="wide", contract=wide, created_at=1.0)
        rows = replace(
            some_faces(chance, 4000),
            external_image_ids=[f"albums:2024:summer:{n:06d}.jpg" for n in range(4000)],
            scales=[one.scale for one in stored],
            codes=[one.codes for one in stored],
        )
        transfer.add_faces(connection, made.key, rows)
    assert export(database, tmp_path / "file").size / 4000 < 550


def test_nothing_of_the_old_file_is_lost_on_an_error(database: Database, tmp_path: Path) -> None:
    make_collection(database)
    export(database, tmp_path / "file")
    before = (tmp_path / "file").read_bytes()

    def fail(_done: int, _all: int) -> None:
        raise OSError(28, os.strerror(28))

    with pytest.raises(Exception, match=r"No space left on device.*as it was"):
        export(database, tmp_path / "file", progress=fail)
    assert (tmp_path / "file").read_bytes() == before
