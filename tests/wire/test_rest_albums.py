"""Albums over REST: real use cases and database, pictures in a real S3 server, jobs done by the test."""

from __future__ import annotations

import base64
import csv
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from wire_server import listening

from facerec.api.rest.app import create_rest
from facerec.bootstrap import Service, open_service
from facerec.config import read_settings
from facerec.engine.fake import FakeEngine, draw
from facerec.services.albums.indexing import ATTEMPTS
from facerec.workers.handling import JobControl
from facerec.workers.tasks import handlers

BUCKET = "marketplace"


@dataclass
class Place:
    """A service with albums, whose jobs the test does."""

    client: httpx.Client
    service: Service
    s3: Any

    def drain(self) -> None:
        """Do the jobs that wait, each as in the last of its attempts."""
        work = handlers(self.service)
        while jobs := self.service.jobs.lease(list(work), 10, seconds=60):
            for job in jobs:
                work[job.kind](replace(job, attempt=ATTEMPTS), JobControl(threading.Event()))
            self.service.jobs.done(jobs)

    def put(self, key: str, data: bytes) -> str:
        """Lay an object into S3; its version id."""
        answer = self.s3.put_object(Bucket=BUCKET, Key=key, Body=data)
        return str(answer.get("VersionId", ""))


@pytest.fixture(scope="module")
def environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, s3_url: str, environment: None) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp("albums")
    settings = read_settings(
        data_dir=folder, s3_endpoint_url=s3_url, url_allowed_hosts=("169.254.169.254", "localhost:1")
    )
    s3 = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    with (
        open_service(settings, engine=FakeEngine()) as service,
        listening(create_rest(service, threads=4)) as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        yield Place(client, service, s3)


@pytest.fixture
def album(place: Place, request: pytest.FixtureRequest) -> str:
    """A new album."""
    answer = place.client.post("/albums", json={"title": request.node.name[:255]})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["album_id"])


def selfie(person: str) -> str:
    return base64.b64encode(draw(person, variation=9)).decode()


def progress(place: Place, album: str) -> dict[str, Any]:
    answer = place.client.get(f"/albums/{album}")
    assert answer.status_code == 200
    return dict(answer.json())


def test_a_guest_finds_the_photos_they_are_in(place: Place, album: str) -> None:
    keys = [f"{album}/{number}.png" for number in range(3)]
    for key, people in zip(keys, [("ann", "bob"), ("bob",), ("ann",)], strict=True):
        place.put(key, draw(*people))
    answer = place.client.post(
        f"/albums/{album}/images",
        json={
            "images": [f"s3://{BUCKET}/{keys[0]}", {"bucket": BUCKET, "key": keys[1], "external_id": "two"}]
        },
    )
    assert (answer.status_code, answer.json()) == (202, {"new": 2, "known": 0, "listing": None})
    answer = place.client.post(
        f"/albums/{album}/images", json={"prefix": {"bucket": BUCKET, "prefix": f"{album}/"}}
    )
    assert answer.json()["listing"]["state"] == "WAITING"
    assert progress(place, album)["state"] == "WORKING"
    place.drain()
    told = progress(place, album)
    assert (told["state"], told["done"], told["waiting"], told["failed"]) == ("DONE", 3, 0, 0)
    assert (told["faces"], told["album"]["images"]) == (4, 3)
    found = place.client.post("/albums/search", json={"image": selfie("ann"), "album_ids": [album]}).json()
    assert {photo["source"] for photo in found["photos"]} == {f"s3://{BUCKET}/{keys[n]}" for n in (0, 2)}
    assert all(photo["similarity"] > 80 and len(photo["faces"]) == 1 for photo in found["photos"])
    similarities = [photo["similarity"] for photo in found["photos"]]
    assert similarities == sorted(similarities, reverse=True)
    box = found["photos"][0]["faces"][0]
    assert 0 < box["width"] < 1
    (second,) = (
        each
        for each in place.client.get(f"/albums/{album}/images").json()["images"]
        if each["external_id"] == "two"
    )
    assert (second["state"], second["faces"], second["attempts"]) == ("DONE", 1, 4)


def test_a_selfie_as_a_form_looks_into_all_albums(place: Place) -> None:
    names = [place.client.post("/albums", json={}).json()["album_id"] for _ in range(2)]
    for name in names:
        sent = {"files": ("eve.png", draw("eve", f"friend {name}"))}
        assert place.client.post(f"/albums/{name}/uploads", files=sent).status_code == 200
    sent = {"image": ("me.png", draw("eve", variation=3))}
    found = place.client.post("/albums/search", files=sent, data={"limit": "50"}).json()["photos"]
    assert {photo["album_id"] for photo in found} == set(names)
    found = place.client.post("/albums/search", files=sent, data={"album_ids": names[0]}).json()["photos"]
    assert [photo["album_id"] for photo in found] == names[:1]


def test_uploads_are_indexed_at_once_and_each_on_its_own(place: Place, album: str) -> None:
    files = [
        ("files", ("a.png", draw("ann"))),
        ("files", ("b.png", b"no image")),
        ("files", ("c.png", draw())),
    ]
    first, second, third = place.client.post(f"/albums/{album}/uploads", files=files).json()
    assert (first["number"], first["faces"], first["code"]) == (1, 1, None)
    assert (second["number"], second["code"]) == (None, "InvalidImage")
    assert (third["number"], third["faces"]) == (2, 0)
    again = place.client.post(f"/albums/{album}/uploads", files=files[:1]).json()
    assert again[0]["number"] == 1
    told = progress(place, album)
    assert (told["done"], told["faces"]) == (2, 1)


def test_what_cannot_be_had_fails_with_the_reason_and_is_tried_again(place: Place, album: str) -> None:
    place.put(f"{album}/text.jpg", b"not an image")
    place.put(f"{album}/large.jpg", b"\xff\xd8" + bytes(16 * 1024 * 1024))
    wrong = [
        f"s3://{BUCKET}/{album}/missing.jpg",
        f"s3://{BUCKET}/{album}/text.jpg",
        f"s3://{BUCKET}/{album}/large.jpg",
        "s3://no-such-bucket-here/a.jpg",
        "http://169.254.169.254/latest/meta-data/",
        "http://elsewhere.example/a.jpg",
        "http://localhost:1/a.jpg",
    ]
    place.client.post(f"/albums/{album}/images", json={"images": wrong})
    place.drain()
    answer = place.client.get(f"/albums/{album}/images", params={"state": "FAILED", "limit": 4}).json()
    rest = place.client.get(
        f"/albums/{album}/images",
        params={"state": "FAILED", "limit": 4, "next_token": answer["next_token"]},
    ).json()
    reasons = {each["source"]: each["reason"] for each in answer["images"] + rest["images"]}
    assert list(reasons) == wrong
    assert "too large" in reasons[wrong[2]]
    assert "private network" in reasons[wrong[4]]
    assert "not allowed" in reasons[wrong[5]]
    assert "private network" in reasons[wrong[6]]
    assert all(reasons.values())
    place.put(f"{album}/missing.jpg", draw("ann"))
    assert place.client.post(f"/albums/{album}/retry").json() == {"images": 7}
    place.drain()
    told = progress(place, album)
    assert (told["done"], told["failed"]) == (1, 6)


def test_a_version_is_another_image_and_stays_what_it_was(place: Place, album: str) -> None:
    first = place.put(f"{album}/a.png", draw("ann"))
    place.put(f"{album}/a.png", draw("bob"))
    source = f"s3://{BUCKET}/{album}/a.png"
    body = {"images": [source, f"{source}?versionId={first}"]}
    assert place.client.post(f"/albums/{album}/images", json=body).json()["new"] == 2
    place.drain()
    found = place.client.post("/albums/search", json={"image": selfie("ann"), "album_ids": [album]}).json()
    assert [photo["version"] for photo in found["photos"]] == [first]


def test_an_image_is_fetched_from_its_source(place: Place, album: str) -> None:
    picture, key = draw("ann"), f"{album}/a.png"
    place.put(key, picture)
    place.put(f"{album}/text.png", b"<script>alert(1)</script>")
    body = {"images": [f"s3://{BUCKET}/{key}", f"s3://{BUCKET}/{album}/text.png"]}
    place.client.post(f"/albums/{album}/images", json=body)
    place.client.post(f"/albums/{album}/uploads", files={"files": ("b.png", draw("bob"))})
    path = f"/albums/{album}/images"
    sources = {each["number"]: each["source"] for each in place.client.get(path).json()["images"]}
    assert sorted(sources) == [1, 2, 3]
    answer = place.client.get(f"{path}/1/source")
    assert (answer.status_code, answer.content) == (200, picture)
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("image/png", "no-store")
    for number, status, code in (
        (2, 400, "InvalidImage"),
        (3, 404, "NotFound"),
        (4, 404, "NotFound"),
        (0, 422, "InvalidRequest"),
    ):
        answer = place.client.get(f"{path}/{number}/source")
        assert (answer.status_code, answer.json()["code"]) == (status, code), number
    assert place.client.get("/albums/nowhere/images/1/source").json()["code"] == "AlbumNotFound"
    place.s3.delete_object(Bucket=BUCKET, Key=key)
    answer = place.client.get(f"{path}/1/source")
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidS3Object")


def test_a_cancelled_album_stops_and_its_events_end(place: Place, album: str) -> None:
    place.client.post(
        f"/albums/{album}/images", json={"images": [f"s3://{BUCKET}/x{n}.jpg" for n in range(5)]}
    )
    assert place.client.post(f"/albums/{album}/cancel").json() == {"images": 5}
    with place.client.stream("GET", f"/albums/{album}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        text = "".join(stream.iter_text())
    assert text.startswith("event: done\n")
    assert json.loads(text.partition("data: ")[2])["cancelled"] == 5
    place.drain()
    assert progress(place, album)["state"] == "CANCELLED"


def test_events_are_told_until_the_work_is_done(
    place: Place, album: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facerec.api.rest.albums.PAUSE_SECONDS", 0.01)
    place.put(f"{album}/a.png", draw("ann"))
    place.client.post(f"/albums/{album}/images", json={"images": [f"s3://{BUCKET}/{album}/a.png"]})
    get, asked = place.service.albums.service.progress, 0

    def work_meanwhile(album_id: str) -> Any:
        nonlocal asked
        asked += 1
        if asked == 3:
            place.drain()
        return get(album_id)

    monkeypatch.setattr(place.service.albums.service, "progress", work_meanwhile)
    with place.client.stream("GET", f"/albums/{album}/events") as stream:
        text = "".join(stream.iter_text())
    assert [line for line in text.splitlines() if line.startswith("event")] == [
        "event: progress",
        "event: done",
    ]


def test_a_client_that_has_gone_is_told_no_more(
    place: Place, album: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facerec.api.rest.albums.PAUSE_SECONDS", 0.01)
    place.client.post(f"/albums/{album}/images", json={"images": [f"s3://{BUCKET}/never.jpg"]})
    get, looks = place.service.albums.service.progress, 0

    def counted(album_id: str) -> Any:
        nonlocal looks
        looks += 1
        return get(album_id)

    monkeypatch.setattr(place.service.albums.service, "progress", counted)
    with place.client.stream("GET", f"/albums/{album}/events") as stream:
        assert next(stream.iter_lines()) == "event: progress"
    deadline = time.monotonic() + 30
    before = -1
    while before != looks:
        assert time.monotonic() < deadline
        before = looks
        time.sleep(0.3)
    place.client.post(f"/albums/{album}/cancel")


def test_a_deleted_album_is_gone_with_its_faces(place: Place, album: str) -> None:
    place.client.post(f"/albums/{album}/uploads", files={"files": ("zoe.png", draw("zoe"))})
    assert place.client.delete(f"/albums/{album}").status_code == 204
    assert place.client.get(f"/albums/{album}").json()["code"] == "AlbumNotFound"
    assert place.client.get(f"/albums/{album}/events").status_code == 404
    assert place.client.post("/albums/search", json={"image": selfie("zoe")}).json()["photos"] == []
    answer = place.client.post("/albums/search", json={"image": selfie("zoe"), "album_ids": [album]})
    assert answer.json()["code"] == "AlbumNotFound"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"images": []}, 422),
        ({"images": ["photo.jpg"]}, 400),
        ({"images": ["file:///etc/passwd"]}, 400),
        ({"images": [{"bucket": BUCKET}]}, 422),
        ({"images": [{"source": "s3://abc/a.jpg", "key": "a", "bucket": "abc"}]}, 422),
        ({"images": [{"source": "s3://abc/a.jpg", "external_id": "a b"}]}, 400),
        ({"images": ["s3://abc/a.jpg"] * 10_001}, 422),
        ({"prefix": {"bucket": "A"}}, 400),
        ({"images": ["s3://abc/a.jpg"], "priority": "now"}, 422),
    ],
)
def test_what_names_no_images_is_refused(place: Place, album: str, body: dict[str, Any], status: int) -> None:
    answer = place.client.post(f"/albums/{album}/images", json=body)
    assert (answer.status_code, progress(place, album)["state"]) == (status, "EMPTY")
    assert answer.json()["correlation_id"]


def test_albums_are_listed_and_made_once_for_a_token(place: Place) -> None:
    body = {"album_id": "party-1", "client_token": "token-1"}
    first = place.client.post("/albums", json=body)
    assert place.client.post("/albums", json=body).json() == first.json()
    assert place.client.post("/albums", json={"album_id": "party-1"}).json()["code"] == "AlreadyExists"
    page = place.client.get("/albums", params={"limit": 1}).json()
    names = []
    while page["next_token"]:
        names += [each["album_id"] for each in page["albums"]]
        page = place.client.get("/albums", params={"limit": 1, "next_token": page["next_token"]}).json()
    names += [each["album_id"] for each in page["albums"]]
    assert "party-1" in names
    assert len(set(names)) == len(names)


def test_a_manifest_is_imported_and_its_report_tells_every_line(place: Place) -> None:
    place.client.post("/albums", json={"album_id": "gallery"})
    place.put("import/1.png", draw("ann", "bob"))
    manifest = f"external_id,bucket,key\nan id,{BUCKET},x\n1,{BUCKET},import/1.png\n2,{BUCKET},=no.png\n"
    sent = {
        "files": {"file": ("list.csv", manifest)},
        "data": {"collection_id": "gallery", "client_token": "i"},
    }
    answer = place.client.post("/imports", **sent)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["waiting"], answer.json()["failed"]) == (202, 2, 1)
    made = answer.json()["import_id"]
    assert place.client.post("/imports", **sent).json()["import_id"] == made  # type: ignore[arg-type]
    place.drain()
    told = place.client.get(f"/imports/{made}").json()
    assert (told["state"], told["done"], told["failed"]) == ("DONE", 1, 2)
    report = place.client.get(f"/imports/{made}/report", params={"form": "jsonl"}).text.splitlines()
    lines = [json.loads(line) for line in report]
    assert [line["line"] for line in lines] == [2, 3, 4]
    assert [line["state"] for line in lines] == ["FAILED", "DONE", "FAILED"]
    assert [len(line["face_ids"]) for line in lines] == [0, 2, 0]
    rows = list(csv.reader(place.client.get(f"/imports/{made}/report").text.splitlines()))
    assert rows[0] == ["line", "source", "external_id", "state", "reason", "face_ids"]
    assert rows[2][5].split() == lines[1]["face_ids"]
    assert [each["import_id"] for each in place.client.get("/imports").json()["imports"]] == [made]
    assert place.client.delete(f"/imports/{made}").status_code == 204
    assert place.client.get(f"/imports/{made}/report").status_code == 404


def test_a_manifest_in_s3_is_imported(place: Place) -> None:
    place.client.post("/albums", json={"album_id": "from-s3"})
    place.put("manifests/1.png", draw("ann"))
    lines = "".join(f'{{"source-ref": "s3://{BUCKET}/manifests/{n}.png"}}\n' for n in range(1, 3))
    place.put("manifests/list.manifest", lines.encode())
    source = f"s3://{BUCKET}/manifests/list.manifest"
    answer = place.client.post("/imports", data={"collection_id": "from-s3", "source": source})
    assert (answer.status_code, answer.json()["state"]) == (202, "WORKING")
    place.drain()
    told = place.client.get(f"/imports/{answer.json()['import_id']}").json()
    assert (told["state"], told["done"], told["failed"], told["manifest"]) == ("DONE", 1, 1, source)
    refused = place.client.post("/imports", data={"collection_id": "from-s3"})
    assert refused.status_code == 400


@pytest.mark.parametrize(
    ("name", "text", "status"),
    [
        ("list.xlsx", "source\n", 400),
        ("list.csv", "no header\n", 400),
        ("faces.json", "{}", 400),
        ("list.csv", "source\n", 404),
    ],
)
def test_what_is_no_manifest_is_refused(place: Place, name: str, text: str, status: int) -> None:
    answer = place.client.post(
        "/imports", files={"file": (name, text)}, data={"collection_id": "no-such-collection"}
    )
    assert answer.status_code == status


def test_a_service_does_the_jobs_of_its_albums_by_itself(
    tmp_path: Path, s3_url: str, environment: None
) -> None:
    s3 = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1")
    s3.create_bucket(Bucket="by-itself")
    for name in ("ann", "bob"):
        s3.put_object(Bucket="by-itself", Key=f"{name}.png", Body=draw(name))
    settings = read_settings(data_dir=tmp_path, s3_endpoint_url=s3_url)
    with (
        open_service(settings, engine=FakeEngine(), background=True) as service,
        listening(create_rest(service, threads=4)) as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        album = client.post("/albums", json={}).json()["album_id"]
        client.post(f"/albums/{album}/images", json={"prefix": {"bucket": "by-itself"}})
        deadline = time.monotonic() + 60
        while client.get(f"/albums/{album}").json()["state"] != "DONE":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert client.get(f"/albums/{album}").json()["faces"] == 2
