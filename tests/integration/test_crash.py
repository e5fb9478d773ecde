"""The process is killed at random moments of indexing; nothing acknowledged is lost, nothing is double."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError, IncompleteReadError
from killing import times
from serving import Server

from facerec.bootstrap import open_service
from facerec.config import read_settings
from facerec.domain import EntityKind
from facerec.engine.fake import FakeEngine, draw

pytestmark = pytest.mark.slow

COLLECTION = "crash"
CRASHES = times(6)
CALLERS = 4


class Indexing:
    """Callers that index images until the server dies; each image until it is acknowledged."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, str] = {}
        """Face ids by the identity drawn in the image."""
        self.unexpected: list[Exception] = []
        self._pending: list[int] = []
        self._next = 0
        self._lock = threading.Lock()

    def run(self, server: Server, kill_after: float) -> None:
        """Index with several callers at once, and kill the server after `kill_after` seconds."""
        dead = threading.Event()
        callers = [threading.Thread(target=self._call, args=(server, dead)) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        time.sleep(kill_after)
        server.kill()
        dead.set()
        for caller in callers:
            caller.join()

    def _call(self, server: Server, dead: threading.Event) -> None:
        client = server.client()
        while not dead.is_set():
            with self._lock:
                if self._pending:
                    number = self._pending.pop(0)
                else:
                    number = self._next
                    self._next += 1
            name = f"person{number}"
            try:
                answer = client.index_faces(
                    CollectionId=COLLECTION, Image={"Bytes": image_of(number)}, ExternalImageId=name
                )
                if "FaceRecords" not in answer:  # how botocore reads an answer cut off after its head
                    raise IncompleteReadError(actual_bytes=0, expected_bytes=1)
                (face_id,) = [record["Face"]["FaceId"] for record in answer["FaceRecords"]]
            except (BotoCoreError, ClientError):
                with self._lock:
                    self._pending.append(number)  # perhaps stored, perhaps not: sent again after the restart
                continue
            except Exception as error:  # noqa: BLE001  (told by the test, not by a thread that dies)
                self.unexpected.append(error)
                break
            with self._lock:
                self.acknowledged[name] = face_id
        client.close()


def image_of(number: int, variation: int = 0) -> bytes:
    return draw(f"person{number}", size=(160, 120), variation=variation)


def check_against_database(data: Path) -> None:
    """Compare the index with the database by the store's own verification, in this process."""
    with open_service(read_settings(data_dir=data), engine=FakeEngine()) as service:
        collection = service.collections.describe(COLLECTION)
        assert service.vectors.verify(collection, EntityKind.FACE) == []
        indexed, _ = service.vectors.status(collection, EntityKind.FACE)
        assert indexed == collection.face_count


def check_through_the_door(server: Server, indexing: Indexing) -> None:
    """Every acknowledged face is listed, under its id and once."""
    client = server.client()
    pages = client.get_paginator("list_faces").paginate(CollectionId=COLLECTION)
    stored = [face for page in pages for face in page["Faces"]]
    by_name = {face["ExternalImageId"]: face["FaceId"] for face in stored}
    assert Counter(face["ExternalImageId"] for face in stored).most_common(1)[0][1] == 1
    assert {name: by_name.get(name) for name in indexing.acknowledged} == indexing.acknowledged
    assert client.describe_collection(CollectionId=COLLECTION)["FaceCount"] == len(stored)
    client.close()


def check_found(server: Server, indexing: Indexing, names: list[str]) -> None:
    """Another picture of each person finds the face that was acknowledged."""
    client = server.client()
    for name in names:
        found = client.search_faces_by_image(
            CollectionId=COLLECTION,
            Image={"Bytes": image_of(int(name.removeprefix("person")), variation=1)},
            MaxFaces=3,
        )
        matches = [match["Face"]["FaceId"] for match in found["FaceMatches"]]
        assert matches == [indexing.acknowledged[name]]
    client.close()


def test_crashes_lose_and_double_nothing(tmp_path: Path) -> None:
    chance = random.Random(20)
    data = tmp_path / "data"
    indexing = Indexing()
    server = Server(data)
    server.client().create_collection(CollectionId=COLLECTION)
    checked = 0
    try:
        for _ in range(CRASHES):
            indexing.run(server, kill_after=chance.uniform(0.02, 0.9))
            assert indexing.unexpected == []
            check_against_database(data)
            server = Server(data)
            check_through_the_door(server, indexing)
            names = list(indexing.acknowledged)
            check_found(server, indexing, names[checked:][:40])
            checked = len(names)
        assert len(indexing.acknowledged) > CRASHES * 5
        check_found(server, indexing, chance.sample(list(indexing.acknowledged), 100))
        assert server.stop() == 0
    finally:
        if server.process.poll() is None:
            server.kill()
