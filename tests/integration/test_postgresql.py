"""A service on PostgreSQL: its life over HTTP, the database killed under load, two services on one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import psycopg
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from killing import times
from serving import FACEREC, Server, serving, wait_until

from facerec.engine.fake import draw
from pgbouncer import CONNECTIONS, pgbouncer
from postgres_server import PASSWORD, PostgresServer

if TYPE_CHECKING:
    from mypy_boto3_rekognition import RekognitionClient
    from mypy_boto3_rekognition.type_defs import ImageTypeDef

COLLECTION = "people"
KILLS = times(8)
CALLERS = 3
"""Of each service."""


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server that the test may end."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


def image_of(name: str, variation: int = 0) -> ImageTypeDef:
    return {"Bytes": draw(name, size=(160, 120), variation=variation)}


def health(server: Server) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(server.url + "/health", timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def run(*arguments: str, data: Path, url: str) -> subprocess.CompletedProcess[str]:
    """Run a `facerec` command to its end."""
    environment = {"FACEREC_DATA_DIR": str(data), "MODEL_PATH": "fake", "DATABASE_URL": url}
    return subprocess.run(
        [str(FACEREC), *arguments],
        env={**os.environ, **environment},
        cwd=data.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def matches(client: RekognitionClient, name: str) -> list[str]:
    """Ids of the faces that another picture of a person finds."""
    found = client.search_faces_by_image(CollectionId=COLLECTION, Image=image_of(name, variation=1))
    return [match["Face"]["FaceId"] for match in found["FaceMatches"]]


def live(client: RekognitionClient) -> str:
    """Use every kind of thing that is stored; the id of a face that stays."""
    made = client.create_collection(CollectionId=COLLECTION, Tags={"b": "2", "A": "1", "a": "3"})
    client.untag_resource(ResourceArn=made["CollectionArn"], TagKeys=["b"])
    assert list(client.list_tags_for_resource(ResourceArn=made["CollectionArn"])["Tags"]) == ["A", "a"]
    ids = {}
    for name in ("anna", "ben", "carl"):
        answer = client.index_faces(CollectionId=COLLECTION, Image=image_of(name), ExternalImageId=name)
        (ids[name],) = [record["Face"]["FaceId"] for record in answer["FaceRecords"]]
    again = client.index_faces(CollectionId=COLLECTION, Image=image_of("anna"), ExternalImageId="anna")
    assert [record["Face"]["FaceId"] for record in again["FaceRecords"]] == [ids["anna"]]
    assert matches(client, "ben") == [ids["ben"]]
    for user in ("b", "a", "B"):
        client.create_user(CollectionId=COLLECTION, UserId=user, ClientRequestToken=f"token-{user}")
    pages = client.get_paginator("list_users").paginate(
        CollectionId=COLLECTION, PaginationConfig={"PageSize": 1}
    )
    assert [user["UserId"] for page in pages for user in page["Users"]] == ["B", "a", "b"]
    client.associate_faces(CollectionId=COLLECTION, UserId="a", FaceIds=[ids["anna"]])
    found = client.search_users_by_image(CollectionId=COLLECTION, Image=image_of("anna", variation=1))
    assert [match["User"]["UserId"] for match in found["UserMatches"]] == ["a"]
    client.disassociate_faces(CollectionId=COLLECTION, UserId="a", FaceIds=[ids["anna"]])
    client.delete_user(CollectionId=COLLECTION, UserId="a")
    deleted = client.delete_faces(CollectionId=COLLECTION, FaceIds=[ids["ben"]])
    assert deleted["DeletedFaces"] == [ids["ben"]]
    assert matches(client, "ben") == []
    with pytest.raises(client.exceptions.ResourceAlreadyExistsException):
        client.create_collection(CollectionId=COLLECTION)
    client.create_collection(CollectionId="short")
    client.delete_collection(CollectionId="short")
    assert client.list_collections()["CollectionIds"] == [COLLECTION]
    assert client.describe_collection(CollectionId=COLLECTION)["FaceCount"] == 2
    return ids["carl"]


def test_a_life_over_http_and_a_restart(tmp_path: Path, postgres_url: str) -> None:
    data, settings = tmp_path / "data", {"DATABASE_URL": postgres_url}
    with serving(data, settings=settings) as server:
        client = server.client()
        kept = live(client)
        client.close()
        status, told = health(server)
        database = told["parts"]["database"]
        assert (status, database["name"], database["status"]) == (200, "postgresql", "ok")
        made = run("keys", "create", "--label", "door", "--json", data=data, url=postgres_url)
        key = json.loads(made.stdout)
        assert server.stop() == 0
        assert PASSWORD not in server.output
        assert PASSWORD.replace(" ", "%20") not in server.output
    assert not (data / "facerec.db").exists()
    with serving(data, settings=settings) as server:
        with pytest.raises(ClientError, match="UnrecognizedClient"):
            server.client().list_collections()
        client = server.client(key["AccessKeyId"], key["SecretAccessKey"])
        assert matches(client, "carl") == [kept]
        client.delete_collection(CollectionId=COLLECTION)
        client.close()
        assert server.stop() == 0
    with psycopg.connect(postgres_url) as connection:
        for table in ("collections", "faces", "users", "tags", "deletions"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table


def test_without_its_database_a_service_says_so_and_does_not_start(
    tmp_path: Path, own_server: PostgresServer
) -> None:
    own_server.stop()
    done = run("serve", "--port", "0", data=tmp_path / "data", url=own_server.url())
    assert done.returncode != 0
    assert "The database could not" in done.stderr
    assert "refused" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert PASSWORD not in done.stderr


def test_an_sdk_outwaits_a_restart_of_the_database(tmp_path: Path, own_server: PostgresServer) -> None:
    with serving(tmp_path / "data", settings={"DATABASE_URL": own_server.url()}) as server:
        patient = boto3.client(
            "rekognition",
            endpoint_url=server.url,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=Config(retries={"mode": "standard", "total_max_attempts": 12}),
        )
        patient.create_collection(CollectionId=COLLECTION)
        own_server.kill()
        with pytest.raises(ClientError) as caught:
            server.client().list_collections()
        assert caught.value.response["Error"]["Code"] == "ThrottlingException"
        assert "does not answer at present" in caught.value.response["Error"]["Message"]
        assert health(server)[0] == 503
        back = threading.Timer(1, own_server.start)
        back.start()
        indexed = patient.index_faces(CollectionId=COLLECTION, Image=image_of("anna"))
        back.join()
        assert matches(patient, "anna") == [indexed["FaceRecords"][0]["Face"]["FaceId"]]
        assert health(server)[0] == 200
        patient.close()
        assert "Traceback" not in server.output


class Callers:
    """Callers of several services at once, that index each image until it is acknowledged."""

    def __init__(self, servers: list[Server]) -> None:
        self.servers = servers
        self.acknowledged: dict[str, str] = {}
        """Face ids by the person drawn in the image."""
        self.refusals: Counter[str] = Counter()
        self.unexpected: list[BaseException] = []
        self._next = 0
        self._pending: list[str] = []
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(server,)) for server in servers for _ in range(CALLERS)
        ]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, count: int) -> None:
        """Wait until so many more are acknowledged."""
        wanted = len(self.acknowledged) + count
        wait_until(lambda: len(self.acknowledged) >= wanted or self.unexpected)

    def _call(self, server: Server) -> None:
        client = server.client()
        while not self._end.is_set():
            with self._lock:
                name = self._pending.pop() if self._pending else f"person{self._next}"
                self._next += name == f"person{self._next}"
            try:
                answer = client.index_faces(
                    CollectionId=COLLECTION, Image=image_of(name), ExternalImageId=name
                )
                with self._lock:
                    self.acknowledged[name] = answer["FaceRecords"][0]["Face"]["FaceId"]
            except ClientError as error:
                with self._lock:
                    self.refusals[error.response["Error"]["Code"]] += 1
                    self._pending.append(name)  # perhaps stored, perhaps not
                self._end.wait(0.02)
            except BaseException as error:  # noqa: BLE001  (told by the test, not by a thread that dies)
                self.unexpected.append(error)
                break
        client.close()


def check(callers: Callers, url: str) -> None:
    """Every acknowledged face is listed by every service, under its id and once, and numbered without gap."""
    for server in callers.servers:
        client = server.client()
        pages = client.get_paginator("list_faces").paginate(CollectionId=COLLECTION)
        stored = [(face["ExternalImageId"], face["FaceId"]) for page in pages for face in page["Faces"]]
        assert len(dict(stored)) == len(stored)
        assert callers.acknowledged.items() <= dict(stored).items()
        for name in random.Random(1).sample(sorted(callers.acknowledged), 30):
            assert matches(client, name) == [callers.acknowledged[name]]
        client.close()
    with psycopg.connect(url) as connection:
        numbers = [n for (n,) in connection.execute("SELECT number FROM faces ORDER BY key")]
        (last,) = connection.execute("SELECT change_number FROM collections").fetchone() or (0,)
    assert sorted(numbers) == list(range(1, last + 1))


@pytest.mark.slow
def test_a_database_killed_again_and_again_loses_and_doubles_nothing(
    tmp_path: Path, own_server: PostgresServer
) -> None:
    chance = random.Random(7)
    settings = {"DATABASE_URL": own_server.url(), "FACEREC_DATABASE_POOL": "4"}
    with (
        serving(tmp_path / "one", settings=settings) as one,
        serving(tmp_path / "two", settings=settings) as two,
    ):
        one.client().create_collection(CollectionId=COLLECTION)
        with Callers([one, two]) as callers:
            for _ in range(KILLS):
                time.sleep(chance.uniform(0.1, 0.6))
                own_server.kill()
                time.sleep(chance.uniform(0, 0.2))
                own_server.start()
                callers.wait_for_more(20)  # the services go on by themselves
                for server in (one, two):
                    assert health(server)[0] == 200
        assert callers.unexpected == []
        assert set(callers.refusals) == {"ThrottlingException"}
        check(callers, own_server.url())
        for server in (one, two):
            assert server.stop() == 0
            assert "Traceback" not in server.output


@pytest.mark.slow
@pytest.mark.parametrize("store", ["embedded", "pgvector"])
def test_two_services_share_few_connections_through_pgbouncer(
    tmp_path: Path, postgres_server: PostgresServer, store: str
) -> None:
    """Each transaction may have another connection of the server, from the first migration on."""
    with postgres_server.database() as url, pgbouncer(postgres_server) as port:
        settings = {
            "DATABASE_URL": url.replace(f":{postgres_server.port}/", f":{port}/"),
            "FACEREC_DATABASE_POOLING": "transaction",
            "VECTOR_STORE": store,
        }
        with (
            serving(tmp_path / "one", settings=settings) as one,
            serving(tmp_path / "two", settings=settings) as two,
        ):
            client = one.client()
            live(client)
            client.delete_collection(CollectionId=COLLECTION)
            client.create_collection(CollectionId=COLLECTION)
            with Callers([one, two]) as callers:
                callers.wait_for_more(100)
                with psycopg.connect(url) as connection:
                    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'facerec'"
                    assert connection.execute(query).fetchone() == (CONNECTIONS,)
            assert callers.unexpected == []
            assert callers.refusals == {}
            check(callers, url)
            for server in (one, two):
                assert server.stop() == 0
                assert "Traceback" not in server.output


def test_two_services_write_one_collection(tmp_path: Path, postgres_url: str) -> None:
    """Each sees what the other has acknowledged, at once, and no change number is lost or given twice."""
    settings = {"DATABASE_URL": postgres_url}
    with (
        serving(tmp_path / "one", settings=settings) as one,
        serving(tmp_path / "two", settings=settings) as two,
    ):
        one.client().create_collection(CollectionId=COLLECTION)
        with Callers([one, two]) as callers:
            writer, reader = one.client(), two.client()
            for number in range(20):
                answer = writer.index_faces(CollectionId=COLLECTION, Image=image_of(f"other{number}"))
                face_id = answer["FaceRecords"][0]["Face"]["FaceId"]
                assert matches(reader, f"other{number}") == [face_id]
                writer.delete_faces(CollectionId=COLLECTION, FaceIds=[face_id])
                assert matches(reader, f"other{number}") == []
                writer, reader = reader, writer
            wait_until(lambda: len(callers.acknowledged) > 100)
        writer.close()
        reader.close()
        assert callers.unexpected == []
        assert callers.refusals == {}
        with psycopg.connect(postgres_url) as connection:
            removed = connection.execute("SELECT number FROM deletions ORDER BY number").fetchall()
            numbers = [n for (n,) in connection.execute("SELECT number FROM faces ORDER BY number")]
            (last,) = connection.execute("SELECT change_number FROM collections").fetchone() or (0,)
        # A face that was stored and deleted had a number too, which nothing shows any more.
        assert len(removed) == 20
        assert len({*numbers, *(n for (n,) in removed)}) == len(numbers) + 20 == last - 20
