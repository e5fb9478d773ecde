"""Collections from one installation to another, through the real command line and real services."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from commands import facerec, start
from serving import Server, serving, wait_until

from facerec.engine.fake import FakeEngine, draw
from facerec.metastore import collections, open_at, transfer
from facerec.metastore.transfer import FaceRows
from facerec.vectors.quantization import quantize_batch

if TYPE_CHECKING:
    from mypy_boto3_rekognition.type_defs import ImageTypeDef

pytestmark = pytest.mark.slow

ALBUM = "album"


def image_of(number: int, variation: int = 0) -> bytes:
    return draw(f"person{number}", size=(160, 120), variation=variation)


def fill(server: Server, people: int = 25) -> None:
    """Collections with everything that a client can put there."""
    client = server.client()
    client.create_collection(CollectionId=ALBUM, Tags={"place": "Zürich", "empty": ""})
    client.create_collection(CollectionId="n" * 255)
    client.create_collection(CollectionId="nothing")
    ids = []
    for number in range(people):
        answer = client.index_faces(
            CollectionId=ALBUM, Image={"Bytes": image_of(number)}, ExternalImageId=f"p:{number}"
        )
        ids.append(answer["FaceRecords"][0]["Face"]["FaceId"])
    client.index_faces(CollectionId="n" * 255, Image={"Bytes": draw("ann", "ben")})
    for name in ("bob", "ann", "without-faces"):
        client.create_user(CollectionId=ALBUM, UserId=name)
    for variation in (1, 2):  # two of one person, so that a user's vector is a mean
        answer = client.index_faces(CollectionId=ALBUM, Image={"Bytes": image_of(3, variation)})
        ids.append(answer["FaceRecords"][0]["Face"]["FaceId"])
    client.associate_faces(CollectionId=ALBUM, UserId="bob", FaceIds=[ids[3], ids[-1], ids[-2]])
    client.associate_faces(CollectionId=ALBUM, UserId="ann", FaceIds=[ids[5]])
    client.delete_faces(CollectionId=ALBUM, FaceIds=ids[10:14])  # numbers and keys with gaps
    client.close()


def answers(server: Server) -> list[Any]:
    """What every operation that reads answers."""
    client = server.client()
    told: list[Any] = [client.list_collections()]
    for name in told[0]["CollectionIds"]:
        described = client.describe_collection(CollectionId=name)
        told += [described, client.list_tags_for_resource(ResourceArn=described["CollectionARN"])]
        faces = [
            face
            for page in client.get_paginator("list_faces").paginate(
                CollectionId=name, PaginationConfig={"PageSize": 7}
            )
            for face in page["Faces"]
        ]
        users = client.list_users(CollectionId=name)["Users"]
        told += [faces, users]
        for face in faces:
            one = {"CollectionId": name, "FaceId": face["FaceId"]}
            told.append(client.search_faces(**one, FaceMatchThreshold=0))
            told.append(client.search_users(**one, UserMatchThreshold=0))
        for user in users:
            told.append(client.list_faces(CollectionId=name, UserId=user["UserId"])["Faces"])
            told.append(client.search_users(CollectionId=name, UserId=user["UserId"], UserMatchThreshold=0))
        probe: ImageTypeDef = {"Bytes": image_of(3, variation=5)}
        told.append(client.search_faces_by_image(CollectionId=name, Image=probe, FaceMatchThreshold=0))
        told.append(client.search_users_by_image(CollectionId=name, Image=probe, UserMatchThreshold=0))
    client.close()
    for answer in told:
        if isinstance(answer, dict):
            answer.pop("ResponseMetadata", None)
    return told


def test_every_answer_is_the_same_in_another_place(tmp_path: Path) -> None:
    with serving(tmp_path / "source") as server:
        fill(server)
        before = answers(server)
        done = facerec(tmp_path / "source", "export", tmp_path / "file", "--json")
        assert (done.code, done.err) == (0, "")
    assert [one["CollectionId"] for one in done.json["Collections"]] == [ALBUM, "n" * 255, "nothing"]
    assert facerec(tmp_path / "target", "import", tmp_path / "file").code == 0
    with serving(tmp_path / "target") as server:
        assert answers(server) == before


def test_from_sqlite_to_postgresql_and_back(tmp_path: Path, postgres_url: str) -> None:
    over = {"DATABASE_URL": postgres_url}
    with serving(tmp_path / "source") as server:
        fill(server)
        before = answers(server)
    facerec(tmp_path / "source", "export", tmp_path / "there")
    there = facerec(tmp_path / "target", "import", tmp_path / "there", settings=over)
    assert there.code == 0, there.err
    with serving(tmp_path / "target", settings=over) as server:
        assert answers(server) == before
        # Beside the service, which serves on.
        assert facerec(tmp_path / "target", "export", tmp_path / "back", settings=over).code == 0
    assert facerec(tmp_path / "again", "import", tmp_path / "back").code == 0
    with serving(tmp_path / "again") as server:
        assert answers(server) == before


def test_an_import_beside_a_service_is_seen_as_a_whole(tmp_path: Path) -> None:
    make_faces(tmp_path / "source", 20_000)
    facerec(tmp_path / "source", "export", tmp_path / "file")
    with serving(tmp_path / "target") as server:
        client = server.client()
        importing = start(tmp_path / "target", "import", tmp_path / "file")
        counts = set()
        while importing.poll() is None:
            for name in client.list_collections()["CollectionIds"]:
                counts.add(client.describe_collection(CollectionId=name)["FaceCount"])
        assert importing.returncode == 0
        assert counts <= {20_000}
        assert client.describe_collection(CollectionId="many")["FaceCount"] == 20_000
        one = client.list_faces(CollectionId="many", MaxResults=1)["Faces"][0]["FaceId"]
        client.search_faces(CollectionId="many", FaceId=one, FaceMatchThreshold=0)
        replaced = facerec(tmp_path / "target", "import", tmp_path / "file", "--on-conflict", "replace")
        assert replaced.code == 0, replaced.err
        assert client.describe_collection(CollectionId="many")["FaceCount"] == 20_000
        client.search_faces(CollectionId="many", FaceId=one, FaceMatchThreshold=0)
        client.close()


class Writer:
    """Indexes one picture after the other until it is told to stop."""

    def __init__(self, server: Server) -> None:
        self.acknowledged: list[tuple[float, str]] = []
        """When, and which face id, in order."""
        self.failures: list[Exception] = []
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _write(self) -> None:
        client = self._server.client()
        number = 0
        while not self._ended.is_set():
            try:
                answer = client.index_faces(
                    CollectionId=ALBUM, Image={"Bytes": image_of(number)}, ExternalImageId=f"w:{number}"
                )
            except Exception as error:  # noqa: BLE001  (told by the test, not by a thread that dies)
                self.failures.append(error)
                break
            self.acknowledged.append((time.time(), answer["FaceRecords"][0]["Face"]["FaceId"]))
            number += 1
        client.close()


def test_an_export_while_a_client_writes(tmp_path: Path) -> None:
    """Every face that was acknowledged before the moment of the snapshot is there, no later one."""
    with serving(tmp_path / "source") as server:
        server.client().create_collection(CollectionId=ALBUM)
        with Writer(server) as writer:
            for turn in range(4):
                wait_until(lambda least=30 * (turn + 1): len(writer.acknowledged) >= least)
                done = facerec(tmp_path / "source", "export", tmp_path / f"file{turn}", "--json")
                assert done.code == 0, done.err
        assert writer.failures == []
    assert len(writer.acknowledged) > 120
    for turn in range(4):
        target = tmp_path / f"target{turn}"
        assert facerec(target, "import", tmp_path / f"file{turn}").code == 0
        listed = facerec(target, "faces", "list", "--collection", ALBUM, "--json").json
        stored = [face["FaceId"] for face in listed]
        ids = [face_id for _, face_id in writer.acknowledged]
        # In the order in which they were acknowledged, from the first on, without a gap.
        assert stored == ids[: len(stored)]
        assert len(stored) >= 30 * (turn + 1)


def make_faces(folder: Path, count: int) -> None:
    """A collection "many" of random faces."""
    chance = np.random.default_rng(7)
    database = open_at(folder)
    with database.write() as connection:
        made = collections.insert(
            connection, name="many", contract=FakeEngine().contract, created_at=1_700_000_000.5
        )
    for begin in range(0, count, 5000):
        with database.write(sweep=True) as connection:
            transfer.add_faces(connection, made.key, random_faces(chance, min(5000, count - begin)))
    database.close()


def random_faces(chance: np.random.Generator, count: int) -> FaceRows:
    vectors = chance.standard_normal((count, FakeEngine().contract.dimension)).astype(np.float32)
    embeddings = quantize_batch(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    return FaceRows(
        face_ids=[chance.bytes(16) for _ in range(count)],
        image_ids=[chance.bytes(16) for _ in range(count)],
        external_image_ids=[f"album:{number}" for number in range(count)],
        boxes=[chance.random(4).astype("<f4").tobytes() for _ in range(count)],
        confidences=(chance.random(count) * 100).tolist(),
        users=[None] * count,
        sources=[None] * count,
        stored_at=[1_700_000_000] * count,
        expires_at=[None] * count,
        qualities=[None] * count,
        scales=[embedding.scale for embedding in embeddings],
        codes=[embedding.codes for embedding in embeddings],
    )


def stored_faces(folder: Path, name: str = "%") -> int:
    """Faces of the collections whose names are like that, hidden ones too."""
    path = folder / "facerec.db"
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            query = "SELECT coalesce(sum(face_count), 0) FROM collections WHERE name LIKE ?"
            (count,) = connection.execute(query, (name,)).fetchone()
    except sqlite3.OperationalError:  # the tables are not there yet
        return 0
    return int(count)


def rows_of(folder: Path) -> list[Any]:
    """Every face of the collection "many" in the order of numbers, and that it has no number or id twice."""
    with closing(sqlite3.connect(folder / "facerec.db")) as connection:
        rows = connection.execute(
            "SELECT number, face_id, image_id, external_image_id, box, confidence, scale, codes FROM faces "
            "JOIN collections ON collections.key = faces.collection_key WHERE name = 'many' ORDER BY number"
        ).fetchall()
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    assert len({row[1] for row in rows}) == len(rows)
    return [row[1:] for row in rows]


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def ended_or(
    process: subprocess.Popen[bytes], measure: Callable[[Path], int], path: Path, least: int
) -> Callable[[], bool]:
    """Whether a process has ended, or has come that far."""
    return lambda: process.poll() is not None or measure(path) >= least


def test_an_import_that_is_killed_again_and_again(tmp_path: Path) -> None:
    chance = random.Random(10)
    source, target = tmp_path / "source", tmp_path / "target"
    make_faces(source, 60_000)
    assert facerec(source, "export", tmp_path / "file").code == 0
    kills = resumed = 0
    while kills < 4:
        before = stored_faces(target)
        importing = start(target, "import", tmp_path / "file")
        wait_until(ended_or(importing, stored_faces, target, before + chance.randrange(1, 9_000)))
        importing.kill()
        if importing.wait() == 0:
            break
        kills += 1
        after = stored_faces(target)
        assert after >= before  # it went on, and began nothing anew
        resumed += before > 0
        assert stored_faces(target, "many") == 0
    assert kills == 4
    assert resumed >= 2
    done = facerec(target, "import", tmp_path / "file", "--json")
    assert done.code == 0, done.err
    assert done.json["FacesImported"] < 60_000
    assert rows_of(target) == rows_of(source)
    assert facerec(target, "import", tmp_path / "file", "--json").json["FacesImported"] == 0
    with closing(sqlite3.connect(target / "facerec.db")) as connection:
        assert connection.execute("SELECT count(*) FROM collections").fetchone() == (1,)


def test_an_export_that_is_killed_goes_on(tmp_path: Path) -> None:
    chance = random.Random(11)
    source, file, part = tmp_path / "source", tmp_path / "file", tmp_path / "file.part"
    make_faces(source, 60_000)
    for _ in range(3):
        before = size_of(part)
        exporting = start(source, "export", file)
        wait_until(ended_or(exporting, size_of, part, before + chance.randrange(1, 3_000_000)))
        exporting.kill()
        if exporting.wait() == 0:
            break
        assert not file.exists()
    done = facerec(source, "export", file, "--json")
    assert done.code == 0, done.err
    assert done.json["FacesKept"] > 0
    assert facerec(tmp_path / "target", "import", file).code == 0
    assert rows_of(tmp_path / "target") == rows_of(source)


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    source, file = tmp_path / "source", tmp_path / "file"
    make_faces(source, 1_000)
    assert facerec(source, "export", file).code == 0
    before = file.read_bytes()
    assert facerec(source, "collections", "create", "second").code == 0
    full = facerec(source, "export", file, largest_file=50_000)
    assert full.code == 1
    assert "cannot be written: File too large. What was there before is as it was" in full.err
    assert full.err.count("\n") == 1
    assert file.read_bytes() == before
    assert facerec(source, "export", file).code == 0
    assert (
        facerec(source, "import", file, "--check", "--json").json["Collections"][1]["CollectionId"]
        == "second"
    )

    # An import: what has been stored stays hidden, and the next run goes on.
    full = facerec(tmp_path / "target", "import", file, largest_file=250_000)
    assert full.code == 1
    assert "The database could not write" in full.err
    assert facerec(tmp_path / "target", "import", file).code == 0
    assert rows_of(tmp_path / "target") == rows_of(source)


def test_a_damaged_file_changes_nothing(tmp_path: Path) -> None:
    make_faces(tmp_path / "source", 3_000)
    facerec(tmp_path / "source", "export", tmp_path / "file")
    content = bytearray((tmp_path / "file").read_bytes())
    content[-5_000] ^= 1
    (tmp_path / "file").write_bytes(content)
    done = facerec(tmp_path / "target", "import", tmp_path / "file")
    assert done.code == 1
    assert "file is damaged at byte" in done.err
    assert "its checksum is wrong" in done.err
    assert not (tmp_path / "target" / "facerec.db").exists()
