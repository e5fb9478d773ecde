"""The audit log at both doors: who enrolled, searched and deleted whom, and what does not get into it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import sqlalchemy as sa
from botocore.exceptions import ClientError
from typer.testing import CliRunner
from wire_server import Running, inline, running

from facerec.access import KeyKind
from facerec.cli.commands import app
from facerec.engine.fake import draw
from facerec.errors import DatabaseUnavailable
from facerec.services.albums.indexing import ATTEMPTS
from facerec.services.albums.sources import new_image, parse_source
from facerec.services.audit import AuditLog
from facerec.services.keys import KeyLimits
from facerec.workers.handling import JobControl
from facerec.workers.tasks import handlers

PICTURE = draw("zoe")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as server:
        yield server


def entries(server: Running) -> list[dict[str, Any]]:
    """The oldest first, without what differs from run to run."""
    return list(reversed(server.service.audit.latest()))


def told(entry: dict[str, Any]) -> tuple[str, str | None, str]:
    return entry["operation"], entry["collection"], entry["outcome"]


def test_changes_and_searches_of_aws_clients_are_written(server: Running) -> None:
    client = server.client()
    client.create_collection(CollectionId="door")
    client.create_user(CollectionId="door", UserId="ann")
    record = client.index_faces(CollectionId="door", Image=inline(PICTURE), ExternalImageId="ann-passport")[
        "FaceRecords"
    ][0]
    face = record["Face"]["FaceId"]
    client.associate_faces(CollectionId="door", UserId="ann", FaceIds=[face])
    client.search_faces_by_image(CollectionId="door", Image=inline(PICTURE))
    client.search_users_by_image(CollectionId="door", Image=inline(PICTURE))
    client.list_faces(CollectionId="door")
    client.detect_faces(Image=inline(PICTURE))
    client.compare_faces(SourceImage=inline(PICTURE), TargetImage=inline(PICTURE))
    with pytest.raises(ClientError):
        client.delete_user(CollectionId="hall", UserId="bob")
    client.delete_user(CollectionId="door", UserId="ann")
    answer = client.delete_faces(CollectionId="door", FaceIds=[face])
    written = sorted(entries(server), key=lambda entry: entry["at"])
    assert [told(entry) for entry in written] == [
        ("CreateCollection", "door", "ok"),
        ("CreateUser", "door", "ok"),
        ("IndexFaces", "door", "ok"),
        ("AssociateFaces", "door", "ok"),
        ("SearchFacesByImage", "door", "ok"),
        ("SearchUsersByImage", "door", "ok"),
        ("DeleteUser", "hall", "ResourceNotFoundException"),
        ("DeleteUser", "door", "ok"),
        ("DeleteFaces", "door", "ok"),
    ]
    last = written[-1]
    assert last["request"] == answer["ResponseMetadata"]["RequestId"]
    assert (last["key"], last["client"], last["door"]) == ("open", "127.0.0.1", "rekognition")
    assert (last["faces"], last["face_count"]) == ([face], 1)
    assert written[4]["faces"] == [face]
    pseudonym = server.service.audit.pseudonym
    assert written[2]["people"] == [pseudonym("ann-passport")]
    assert written[5]["people"] == [pseudonym("ann")]
    about = server.service.audit.latest(person="ann")
    assert {entry["operation"] for entry in about} >= {"CreateUser", "SearchUsersByImage", "DeleteUser"}


def test_changes_and_searches_over_rest_are_written(server: Running) -> None:
    created = server.service.keys.create(kind=KeyKind.API, limits=KeyLimits())
    with httpx.Client(base_url=server.url, headers={"X-API-Key": created.secret}) as client:
        picture = {"image": ("a.png", PICTURE)}
        enrolled = client.post(
            "/register",
            data={"person_id": "ann", "review": "off"},
            files=[("images", ("a.png", PICTURE))],
        )
        assert enrolled.status_code == 201, enrolled.text
        assert client.post("/verify", files=picture).json()["person_id"] == "ann"
        assert client.get("/persons").status_code == 200
        assert client.delete("/faces/bob").status_code == 404
        assert client.delete("/api/v1/faces/ann").status_code == 204
        client.post("/register", json={"person_id": 5})
        assert client.post("/verify", files=picture, headers={"X-API-Key": "guessed"}).status_code == 401
    written = sorted(entries(server), key=lambda entry: entry["at"])
    assert [told(entry) for entry in written] == [
        ("POST /register", "persons", "ok"),
        ("POST /verify", "persons", "ok"),
        ("DELETE /faces/{person_id}", "persons", "PersonNotFound"),
        ("DELETE /faces/{person_id}", "persons", "ok"),
        ("POST /register", "persons", "InvalidRequest"),
    ]
    assert {entry["key"] for entry in written} == {created.key.access_key_id}
    assert written[0]["request"] == enrolled.headers["x-amzn-requestid"]
    for place in (0, 1, 3):
        assert written[place]["people"] == [server.service.audit.pseudonym("ann")]
    stored = _stored(server)
    for hidden in ("ann", "guessed", created.secret.partition(".")[2], "imilarity", "ector", "mage"):
        assert hidden not in stored


def test_faces_over_rest_are_written_as_at_the_other_door(server: Running) -> None:
    with httpx.Client(base_url=f"{server.url}/api/v1") as client:
        client.post("/collections", json={"collection_id": "door"})
        files = {"file": ("a.png", PICTURE)}
        sent = {"external_image_id": "ann-passport"}
        stored = client.post("/collections/door/index-faces", data=sent, files=files).json()
        face = stored["faces"][0]["face"]["face_id"]
        client.post("/collections/door/search-faces", files=files)
        client.post("/collections/door/delete-faces", json={"face_ids": [face]})
    written = sorted(entries(server), key=lambda entry: entry["at"])
    assert [told(entry) for entry in written] == [
        ("POST /collections", "door", "ok"),
        ("POST /collections/{collection_id}/index-faces", "door", "ok"),
        ("POST /collections/{collection_id}/search-faces", "door", "ok"),
        ("POST /collections/{collection_id}/delete-faces", "door", "ok"),
    ]
    assert [entry["faces"] for entry in written] == [[], [face], [face], [face]]
    assert written[1]["people"] == [server.service.audit.pseudonym("ann-passport")]


@pytest.mark.parametrize("policy", ["on", "off"])
def test_jobs_are_written_as_of_whoever_asked_for_them(
    tmp_path: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    bucket = f"audited-{policy}"
    s3 = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1")
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="day/zoe.png", Body=PICTURE)
    with running(tmp_path, s3_endpoint_url=s3_url, audit=policy) as server:
        service = server.service
        key = service.keys.create(kind=KeyKind.API, limits=KeyLimits())
        with httpx.Client(base_url=f"{server.url}/api/v1", headers={"X-API-Key": key.secret}) as client:
            client.post("/albums", json={"album_id": "party"})
            prefix = {"prefix": {"bucket": bucket, "prefix": "day/"}}
            assert client.post("/albums/party/images", json=prefix).status_code == 202
        service.albums.service.add("party", [new_image(parse_source(f"s3://{bucket}/gone.png"))])
        work = handlers(service)
        while jobs := service.jobs.lease([*work], 10, seconds=60):
            for job in jobs:
                work[job.kind](replace(job, attempt=ATTEMPTS), JobControl(threading.Event()))
            service.jobs.done(jobs)
        done = [entry for entry in entries(server) if entry["door"] == "worker"]
        faces = [face.face_id for face in service.faces.list("party").page.items]
    assert len(faces) == 1
    if policy == "off":
        assert done == []
        return
    found, missing = sorted(done, key=lambda entry: len(entry["faces"]), reverse=True)
    assert told(found) == ("album-image", "party", "ok")
    assert (found["key"], found["faces"]) == (key.key.access_key_id, faces)
    assert told(missing) == ("album-image", "party", "InvalidS3Object")
    assert missing["key"] == "worker"


def test_a_change_that_can_not_be_written_down_is_not_acknowledged(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr("facerec.metastore.audit.append", fail)
    with pytest.raises(ClientError) as refused:
        server.client().create_collection(CollectionId="door")
    assert refused.value.response["Error"]["Code"] == "ThrottlingException"
    answer = httpx.post(f"{server.url}/registrations", json={"person_id": "ann"})
    assert (answer.status_code, answer.json()["code"]) == (503, "StorageError")
    monkeypatch.undo()


def test_a_match_that_is_to_store_its_face_is_a_change(tmp_path: Path) -> None:
    match = {"bucket": "a/b", "key": "a.jpg", "collection_id": "door"}
    with running(tmp_path, audit="changes") as server:
        for more in ({}, {"index": True}):
            httpx.post(f"{server.url}/api/v1/face-recognition/match", json={**match, **more})
        assert [told(entry) for entry in entries(server)] == [
            ("POST /face-recognition/match", "door", "InvalidParameter")
        ]


@pytest.mark.parametrize(("policy", "written"), [("changes", 1), ("off", 0)])
def test_less_is_written_where_less_is_wanted(tmp_path: Path, policy: str, written: int) -> None:
    with running(tmp_path, audit=policy) as server:
        server.client().create_collection(CollectionId="door")
        server.client().search_faces_by_image(CollectionId="door", Image=inline(PICTURE))
        assert len(entries(server)) == written


def test_what_waits_is_written_at_the_end(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.client().create_collection(CollectionId="door")
        server.client().search_faces_by_image(CollectionId="door", Image=inline(PICTURE))
    result = CliRunner().invoke(app, ["--data-dir", str(tmp_path), "audit", "list", "--json"])
    assert [entry["operation"] for entry in json.loads(result.stdout)] == [
        "SearchFacesByImage",
        "CreateCollection",
    ]


@pytest.mark.parametrize(
    ("tampering", "fault"),
    [
        ("UPDATE audit_entries SET content = replace(content, 'b', 'c') WHERE number = 2", "entry 2 was"),
        ("UPDATE audit_entries SET at = at - 60 WHERE number = 2", "entry 2 was"),
        ("DELETE FROM audit_entries WHERE number = 1", "entry 1 is missing"),
        ("DELETE FROM audit_entries WHERE number = 2", "entry 2 is missing"),
        ("DELETE FROM audit_entries WHERE number = 3", "the end is missing"),
        ("DELETE FROM audit_chains", "own row is missing"),
    ],
)
def test_tampering_shows(tmp_path: Path, tampering: str, fault: str) -> None:
    with running(tmp_path) as server:
        for name in "abc":
            server.client().create_collection(CollectionId=name)
        whole = server.service.audit.verify()
        assert [chain.fault for chain in whole] == [None]
        with server.service.database.write() as connection:
            connection.execute(sa.text(tampering))
    result = CliRunner().invoke(app, ["--data-dir", str(tmp_path), "audit", "verify", "--json"])
    assert result.exit_code == 1
    assert fault in json.loads(result.stdout)["chains"][0]["fault"]


def _stored(server: Running) -> str:
    with server.service.database.read() as connection:
        return "\n".join(connection.scalars(sa.text("SELECT content FROM audit_entries")))


def test_the_log_is_whole_after_pruning(server: Running) -> None:
    now = 1_000_000.0
    log = AuditLog(server.service.database, "on", clock=lambda: now)
    service = server.service
    for name in "abc":
        server.client().create_collection(CollectionId=name)
    assert service.audit.prune(3600) == 0
    assert log.prune(0) == 0  # by its clock they are from the future
    log.close()
    with service.database.read() as connection:
        middle = connection.scalar(sa.text("SELECT at FROM audit_entries WHERE number = 3"))
    now = float(middle)
    later = AuditLog(service.database, "off", clock=lambda: now)
    assert later.prune(0) == 2
    assert [told(entry)[1] for entry in service.audit.latest()] == ["c"]
    assert [chain.fault for chain in service.audit.verify()] == [None]
    now += 1
    assert later.prune(0) == 1
    server.client().create_collection(CollectionId="d")
    assert [chain.fault for chain in service.audit.verify()] == [None]
