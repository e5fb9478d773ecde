"""Two processes over PostgreSQL, replaced one after the other under load while the tables become newer."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from botocore.exceptions import ConnectionError as NoConnection
from serving import Server, wait_until

from facerec.config import read_settings
from facerec.engine.fake import draw
from facerec.metastore import meta, migrations, open_unprepared
from postgres_server import PostgresServer

pytestmark = pytest.mark.slow

ALBUM = "album"
WRITERS = 2


class Writers:
    """Callers behind a balancer: one that loses its connection asks the next process."""

    def __init__(self, servers: list[Server]) -> None:
        self.servers = servers
        self.acknowledged: dict[str, str] = {}
        self.errors: list[BaseException] = []
        self.over = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join()

    def _write(self, writer: int) -> None:
        number = 0
        try:
            while not self.over.is_set():
                self._index(f"writer{writer}.face{number}", writer + number)
                number += 1
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.errors.append(error)

    def _index(self, name: str, turn: int) -> None:
        image = draw(name, size=(160, 120))
        for attempt in range(20):
            server = self.servers[(turn + attempt) % len(self.servers)]
            client = server.client()
            try:
                answer = client.index_faces(CollectionId=ALBUM, ExternalImageId=name, Image={"Bytes": image})
                self.acknowledged[name] = answer["FaceRecords"][0]["Face"]["FaceId"]
                return
            except (NoConnection, ConnectionClosedError, ReadTimeoutError):
                self.over.wait(0.05)
            finally:
                client.close()
        raise AssertionError(f"no process answered for {name}")

    def go_on(self) -> None:
        """Wait until so many more faces were acknowledged that every writer has asked every process."""
        enough = len(self.acknowledged) + 4 * WRITERS
        wait_until(lambda: len(self.acknowledged) >= enough or self.errors)


def test_an_upgrade_loses_nothing(tmp_path: Path, postgres_server: PostgresServer) -> None:
    url = postgres_server.url(postgres_server.create_database())
    settings = {"DATABASE_URL": url, "LOG_LEVEL": "WARNING", "FACEREC_DRAIN_SECONDS": "0.5"}
    servers = [Server(tmp_path / f"data{number}", settings=settings) for number in range(2)]
    try:
        client = servers[0].client()
        client.create_collection(CollectionId=ALBUM)
        client.close()
        with Writers(servers) as writers:
            writers.go_on()
            become_newer(url)
            writers.go_on()  # the processes of before serve the newer tables
            for number in range(2):
                replaced = servers[number]
                servers[number] = Server(tmp_path / f"data{number}", settings=settings)
                assert replaced.stop() == 0
                writers.go_on()
                assert "newer than" in servers[number].output  # an older version that was started again
        assert not writers.errors
        for server in servers:
            client = server.client()
            pages = client.get_paginator("list_faces").paginate(CollectionId=ALBUM)
            stored = {face["ExternalImageId"]: face["FaceId"] for page in pages for face in page["Faces"]}
            client.close()
            assert stored == writers.acknowledged
    finally:
        for server in servers:
            if server.process.poll() is None:
                server.kill()


def become_newer(url: str) -> None:
    """What the migration of a newer version does that breaks nothing: a table and a column more."""
    database = open_unprepared(read_settings(database_url=url))
    newest = migrations.schema_of(database).newest
    with database.write() as connection:
        connection.execute(sa.text("CREATE TABLE of_tomorrow (key bigint PRIMARY KEY)"))
        connection.execute(sa.text("ALTER TABLE faces ADD COLUMN of_tomorrow text"))
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        meta.put(connection, migrations.OLDEST_SERVING, newest)
    database.close()
