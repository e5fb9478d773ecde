"""Many persons over REST by a manifest: pictures in a real S3 server, jobs done by the test."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from wire_server import Running, running

from facerec.access import KeyKind, Scope
from facerec.engine.fake import FakeFace, draw
from facerec.services.albums.indexing import ATTEMPTS
from facerec.services.keys import KeyLimits
from facerec.services.retention.forgetting import ForgetRequest, ForgettingService
from facerec.workers.handling import JobControl
from facerec.workers.tasks import handlers

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "staff"
URL = "/api/v1/persons/imports"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, s3_url: str, s3: S3Client) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("persons")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        s3.create_bucket(Bucket=BUCKET)
        for name in ("ann", "bob", "cleo", "dora", "eve"):
            for number in range(2):
                body = draw(name, variation=number)
                s3.put_object(Bucket=BUCKET, Key=f"{name}{number}.png", Body=body)
        s3.put_object(Bucket=BUCKET, Key="dark.png", Body=draw(FakeFace("finn", dim=True)))
        with running(folder, s3_endpoint_url=s3_url) as server:
            yield server


@pytest.fixture
def client(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def drain(server: Running) -> None:
    """Do the jobs that wait, each as in the last of its attempts."""
    work, jobs = handlers(server.service), server.service.jobs
    while leased := jobs.lease(list(work), 10, seconds=60):
        for job in leased:
            work[job.kind](replace(job, attempt=ATTEMPTS), JobControl(threading.Event()))
        jobs.done(leased)


def place(name: str) -> str:
    return f"s3://{BUCKET}/{name}.png"


def send(client: httpx.Client, name: str, text: str, **fields: str) -> httpx.Response:
    return client.post(URL, files={"file": (name, text.encode())}, data=fields)


def json_lines(*values: Any) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def known(client: httpx.Client) -> list[str]:
    """Ids of the imports that there are."""
    return [each["import_id"] for each in client.get(URL).json()["imports"]]


def report(client: httpx.Client, import_id: str) -> list[dict[str, Any]]:
    answer = client.get(f"{URL}/{import_id}/report", params={"form": "jsonl"})
    return [json.loads(line) for line in answer.text.splitlines()]


def test_persons_of_a_manifest_are_enrolled_in_the_background(server: Running, client: httpx.Client) -> None:
    manifest = json_lines(
        {"person_id": "ann", "images": [place("ann0"), place("ann1")], "metadata": {"team": "ä"}},
        {"person_id": "bob", "images": [place("bob0"), place("missing")]},
        {"person_id": "finn", "images": [place("dark")]},
        {"person_id": "gil", "images": ["ftp://elsewhere/gil.png"]},
        {"person_id": "not an id", "images": [place("ann0")]},
    )
    answer = send(client, "staff.jsonl", manifest + "no JSON\n")
    assert answer.status_code == 202, answer.text
    sent = answer.json()
    assert (sent["state"], sent["waiting"], sent["failed"]) == ("WORKING", 4, 2)
    drain(server)
    progress = client.get(f"{URL}/{sent['import_id']}").json()
    assert (progress["state"], progress["waiting"], progress["done"], progress["failed"]) == ("DONE", 0, 2, 4)
    assert progress["persons_per_second"] > 0
    told = report(client, sent["import_id"])
    assert [(line["line"], line["person_id"], line["state"], line["pictures"]) for line in told] == [
        (1, "ann", "DONE", 2),
        (2, "bob", "DONE", 1),
        (3, "finn", "FAILED", 0),
        (4, "gil", "FAILED", 0),
        (5, "", "FAILED", 0),
        (6, "", "FAILED", 0),
    ]
    assert [one["code"] for one in told[1]["refused"]] == ["InvalidS3Object"]
    assert [one["code"] for one in told[2]["refused"]] == ["PoorQuality"]
    assert "ftp://elsewhere" in told[3]["reason"]
    assert "person_id" in told[4]["reason"]
    assert told[5]["reason"] == "The line is no JSON."
    rows = list(csv.DictReader(io.StringIO(client.get(f"{URL}/{sent['import_id']}/report").text)))
    assert rows[1]["refused"] == f"{place('missing')}: InvalidS3Object"
    persons = [json.loads(line) for line in client.get("/persons/export").text.splitlines()]
    assert [(one["person_id"], one["embeddings"], one["metadata"]) for one in persons] == [
        ("ann", 2, {"team": "ä"}),
        ("bob", 1, {}),
    ]
    # What is left of the manifest, once somebody is enrolled, are the line and the id.
    with server.service.database.read() as connection:
        kept = connection.exec_driver_sql(
            "SELECT images, metadata FROM person_import_entries WHERE person_id = 'ann'"
        ).one()
    assert tuple(kept) == ("[]", None)
    entries = server.service.audit.latest(person="ann")
    assert [(one["door"], one["operation"], one["face_count"]) for one in entries] == [
        ("worker", "person-import", 2)
    ]


def test_a_call_that_broke_off_is_gone_on_with(server: Running, client: httpx.Client) -> None:
    head = "person_id,image,team\n"
    rows = [f"cleo,{place('cleo0')},red\n", f"cleo,{place('cleo1')},red\n", f"dora,{place('dora0')},\n"]
    begun = send(client, "more.csv", head + "".join(rows[:2]), client_token="token-1").json()
    drain(server)
    again = send(client, "more.csv", head + "".join(rows), client_token="token-1").json()
    assert again["import_id"] == begun["import_id"]
    assert (again["done"], again["waiting"]) == (1, 1)
    drain(server)
    assert [(line["line"], line["person_id"]) for line in report(client, begun["import_id"])] == [
        (2, "cleo"),
        (4, "dora"),
    ]
    assert client.get("/faces/cleo").json()["metadata"] == {"team": "red"}
    assert client.get("/faces/cleo").json()["embeddings"] == 2


def test_an_import_is_cancelled_tried_again_and_forgotten(server: Running, client: httpx.Client) -> None:
    sent = send(client, "eve.jsonl", json_lines({"person_id": "eve", "images": [place("eve0")]})).json()
    one = f"{URL}/{sent['import_id']}"
    assert client.post(f"{one}/cancel").json() == {"persons": 1}
    drain(server)
    assert client.get(one).json()["state"] == "CANCELLED"
    assert client.get("/faces/eve").status_code == 404
    assert client.post(f"{one}/retry").json() == {"persons": 1}
    drain(server)
    assert client.get(one).json()["state"] == "DONE"
    assert sent["import_id"] in known(client)
    service = server.service
    forgetting = ForgettingService(service.database, service.vectors, lambda: 0.0, registry="persons")
    forgetting.forget(ForgetRequest(user_id="eve"))
    assert report(client, sent["import_id"]) == []
    assert client.delete(one).status_code == 204
    assert client.get(one).status_code == 404


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("staff.json", "{}", "CSV or JSON lines"),
        ("staff.txt", "", "ends with"),
        ("staff.csv", "name,picture\n", "person_id and image"),
        ("staff.csv", "", "person_id and image"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused(
    client: httpx.Client, name: str, text: str, wrong: str
) -> None:
    before = known(client)
    answer = send(client, name, text)
    assert answer.status_code == 400
    assert wrong in answer.json()["message"]
    assert known(client) == before


def test_keys_are_held_to_their_limits(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        make = server.service.keys.create
        told = []
        for limits in (
            KeyLimits(),
            KeyLimits(scope=Scope.READ),
            KeyLimits(scope=Scope.WRITE, collections=("door-*",)),
            KeyLimits(scope=Scope.WRITE, collections=("persons",)),
        ):
            key = make(kind=KeyKind.API, limits=limits)
            with httpx.Client(base_url=server.url, headers={"X-API-Key": key.secret}) as client:
                sent = send(client, "staff.csv", "person_id,image\n")
                told.append((sent.status_code, client.get("/persons/export").status_code))
        assert told == [(202, 200), (403, 200), (403, 403), (202, 200)]


def test_every_kind_of_job_is_known_by_name(server: Running) -> None:
    of_images = {"index-image", "album-image", "album-listing", "album-people", "person-import"}
    assert {*of_images, *server.service.videos.job_kinds} == set(handlers(server.service))


def test_a_manifest_may_lie_in_s3(server: Running, client: httpx.Client, s3: S3Client) -> None:
    manifest = json_lines({"person_id": "eve-in-s3", "images": [place("eve0")]})
    s3.put_object(Bucket=BUCKET, Key="lists/staff.jsonl", Body=manifest.encode())
    fields = {"source": f"s3://{BUCKET}/lists/staff.jsonl", "client_token": "staff", "review": "off"}
    answer = client.post(URL, data=fields)
    assert answer.status_code == 202, answer.text
    assert (answer.json()["manifest"], answer.json()["waiting"]) == (fields["source"], 1)
    # Once more is the same import, of which nothing is read twice.
    again = client.post(URL, data=fields).json()
    assert (again["import_id"], again["waiting"]) == (answer.json()["import_id"], 1)
    drain(server)
    assert client.get("/faces/eve-in-s3").json()["embeddings"] == 1


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "InvalidParameter"),
        ({"source": f"s3://{BUCKET}/none.jsonl"}, "InvalidS3Object"),
        ({"source": "https://example.com/staff.jsonl"}, "InvalidParameter"),
        ({"source": f"s3://{BUCKET}/ann0.png"}, "InvalidParameter"),
    ],
)
def test_a_manifest_that_can_not_be_had_begins_nothing(
    client: httpx.Client, fields: dict[str, str], code: str
) -> None:
    before = known(client)
    answer = client.post(URL, data=fields)
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
    assert known(client) == before
