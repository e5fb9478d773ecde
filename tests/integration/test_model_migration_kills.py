"""A migration is killed ten times while clients index, delete and search: nothing is lost or double."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from commands import facerec, start
from serving import Server, serving, wait_until

from facerec.bootstrap import open_service
from facerec.config import Settings, read_settings
from facerec.domain import EntityKind
from facerec.engine.fake import FakeEngine, draw
from facerec.errors import Conflict
from facerec.metastore import open_metastore
from facerec.services.model_migration.control import ModelMigrations

if TYPE_CHECKING:
    from mypy_boto3_rekognition import RekognitionClient

pytestmark = pytest.mark.slow

COLLECTION = "people"
PICTURES = 300
KILLS = 3
NEW = "fake@2.0"


def drawn(name: str, variation: int = 0) -> bytes:
    return draw(name, size=(160, 120), variation=variation)


class Clients:
    """Callers that change and search the collection until they are told to stop."""

    def __init__(self, server: Server, stored: dict[str, str]) -> None:
        """stored: face ids by name, kept up to date with every acknowledged change."""
        self.errors: list[BaseException] = []
        self.searches = 0
        self.stored = stored
        self._server = server
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,))
            for work in (self._index, self._delete, self._search)
        ]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _guarded(self, work: Callable[[RekognitionClient, random.Random, int], None]) -> None:
        client = self._server.client()
        chance = random.Random(work.__name__)
        try:
            number = 0
            while not self._stop.wait(0.02):
                work(client, chance, number)
                number += 1
        except BaseException as error:  # noqa: BLE001  (told by the test, not by a thread that dies)
            self.errors.append(error)
        finally:
            client.close()

    def _index(self, client: RekognitionClient, _chance: random.Random, number: int) -> None:
        name = f"later{number}"
        answer = client.index_faces(
            CollectionId=COLLECTION, Image={"Bytes": drawn(name)}, ExternalImageId=f"{name}.png"
        )
        (record,) = answer["FaceRecords"]
        with self._lock:
            self.stored[name] = record["Face"]["FaceId"]

    def _delete(self, client: RekognitionClient, chance: random.Random, number: int) -> None:
        if number % 4:
            return
        with self._lock:
            name = chance.choice(sorted(self.stored))
            face_id = self.stored.pop(name)
        answer = client.delete_faces(CollectionId=COLLECTION, FaceIds=[face_id])
        assert answer["DeletedFaces"] == [face_id]

    def _search(self, client: RekognitionClient, chance: random.Random, _number: int) -> None:
        with self._lock:
            name, face_id = chance.choice(sorted(self.stored.items()))
        answer = client.search_faces_by_image(
            CollectionId=COLLECTION, Image={"Bytes": drawn(name, 1)}, MaxFaces=2
        )
        found = [match["Face"]["FaceId"] for match in answer["FaceMatches"]]
        with self._lock:
            deleted = self.stored.get(name) != face_id
        assert found == [face_id] or deleted
        self.searches += 1


def listed_faces(server: Server) -> dict[str, str]:
    """Face ids by name; no name twice."""
    client = server.client()
    pages = client.get_paginator("list_faces").paginate(CollectionId=COLLECTION)
    listed = [
        (face["ExternalImageId"].removesuffix(".png"), face["FaceId"])
        for page in pages
        for face in page["Faces"]
    ]
    client.close()
    assert Counter(name for name, _ in listed).most_common(1)[0][1] == 1
    return dict(listed)


def check_whole(server: Server, stored: dict[str, str], version: str) -> None:
    """The collection holds exactly what was acknowledged, each once, found by its model."""
    assert listed_faces(server) == stored
    client = server.client()
    described = client.describe_collection(CollectionId=COLLECTION)
    assert (described["FaceCount"], described["FaceModelVersion"]) == (len(stored), version)
    for name in random.Random(3).sample(sorted(stored), 40):
        found = client.search_faces_by_image(
            CollectionId=COLLECTION, Image={"Bytes": drawn(name, 2)}, MaxFaces=2
        )
        assert [match["Face"]["FaceId"] for match in found["FaceMatches"]] == [stored[name]]
        assert found["FaceModelVersion"] == version
    client.close()


def check_index(settings: Settings) -> None:
    """The index is what the database says, by its own verification."""
    with open_service(settings, engine=FakeEngine(model_version="2.0")) as service:
        collection = service.collections.describe(COLLECTION)
        assert service.vectors.verify(collection, EntityKind.FACE) == []


class Migrating:
    """Runs the command, two processes at once, and kills them in the midst of their work."""

    def __init__(self, data: Path, environment: dict[str, str], settings: Settings, images: Path) -> None:
        self._data = data
        self._environment = environment
        self._database = open_metastore(settings)
        self._control = ModelMigrations(self._database)
        self._options = ("migrate-model", COLLECTION, "--to", NEW, "--images", images)

    def done(self) -> int:
        """Faces with their new embedding."""
        try:
            return self._control.status(COLLECTION).done
        except Conflict:
            return 0  # not begun

    def kill_once(self, chance: random.Random) -> None:
        """Let two processes do a part, and kill them."""
        goal = self.done() + chance.randrange(20, PICTURES // (KILLS + 2))
        runs = [start(self._data, *self._options, settings=self._environment) for _ in range(2)]
        try:
            wait_until(lambda: self.done() >= goal, seconds=120)
        finally:
            for run in runs:
                run.kill()
                run.wait()

    def complete(self) -> None:
        """Run to the end, and switch."""
        ran = facerec(self._data, *self._options, "--json", settings=self._environment)
        assert ran.code == 0, ran.err
        assert (ran.json["Pending"], ran.json["Failed"]) == (0, {})
        for option in (("--share", "50"), ("--finish",)):
            time.sleep(1)  # some requests in each state
            stage = facerec(
                self._data, "migrate-model", COLLECTION, *option, "--json", settings=self._environment
            )
            assert stage.code == 0, stage.err
        time.sleep(1)

    def close(self) -> None:
        self._database.close()


@pytest.mark.timeout(900)
def test_kills_of_a_migration_under_load(tmp_path: Path, database_url: str | None) -> None:
    data = tmp_path / "data"
    environment = {} if database_url is None else {"DATABASE_URL": database_url}
    settings = read_settings(data_dir=data, database_url=database_url)
    album = tmp_path / "album"
    album.mkdir()
    for number in range(PICTURES):
        (album / f"p{number}.png").write_bytes(drawn(f"p{number}"))
    indexing = ("index", album, "--collection", COLLECTION, "--create", "--json")
    assert facerec(data, *indexing, settings=environment).json["FaceCount"] == PICTURES
    chance = random.Random(10)
    migrating = Migrating(data, environment, settings, album)
    with serving(data, settings=environment) as server:
        stored = listed_faces(server)
        migrating.kill_once(chance)  # begun: from here on new faces, whose images are kept nowhere, get both
        with Clients(server, stored) as clients:
            for _ in range(KILLS - 1):
                migrating.kill_once(chance)
            assert migrating.done() < PICTURES
            migrating.complete()
        assert clients.errors == []
        assert clients.searches > 20
        check_whole(server, stored, "2.0")
        assert server.stop() == 0
    migrating.close()
    check_index(settings)
