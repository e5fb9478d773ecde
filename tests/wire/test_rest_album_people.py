"""The people of an album over REST, and on the command line: photos are sent, the jobs done by the test."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from wire_server import listening

from facerec.api.rest.app import create_rest
from facerec.bootstrap import Service, open_service
from facerec.cli.album_people import print_people
from facerec.config import read_settings
from facerec.engine.fake import FakeEngine, draw
from facerec.workers.handling import JobControl
from facerec.workers.tasks import handlers


@dataclass
class Place:
    """A service with the album "party"."""

    client: httpx.Client
    service: Service

    def send(self, *photos: tuple[str, ...]) -> None:
        """Send photos of these people, and look who is in them."""
        sent = [
            ("files", (f"{uuid.uuid4()}.png", draw(*names, variation=number)))
            for number, names in enumerate(photos)
        ]
        assert self.client.post("/uploads", files=sent).status_code == 200
        self.drain()

    def drain(self) -> None:
        """Do jobs until nothing is pending."""
        work, deadline = handlers(self.service), time.monotonic() + 30
        while self.service.jobs.counts():
            assert time.monotonic() < deadline
            for job in self.service.jobs.lease(list(work), 10, seconds=60):
                work[job.kind](job, JobControl(threading.Event()))
                self.service.jobs.done([job])
            time.sleep(0.02)

    def people(self, **query: Any) -> list[dict[str, Any]]:
        answer = self.client.get("/people", params=query)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["people"])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with (
        open_service(read_settings(data_dir=tmp_path), engine=FakeEngine()) as service,
        listening(create_rest(service, threads=4)) as url,
        httpx.Client(base_url=f"{url}/albums/party", timeout=30) as client,
    ):
        service.albums.service.create("party")
        yield Place(client, service)


def test_who_is_in_the_album(place: Place) -> None:
    place.send(("ann", "bob"), ("ann",), ("ann", "cid"), ("bob",))
    listed = place.client.get("/people").json()
    assert [each["photos"] for each in listed["people"]] == [3, 2, 1]
    assert (listed["pending"], listed["next_token"]) == (False, None)
    ann = listed["people"][0]
    assert ann == place.client.get(f"/people/{ann['person_id']}").json()
    assert (ann["name"], ann["hidden"], ann["confirmed"], ann["version"]) == (None, False, False, 1)
    assert ann["cover"]["source"].startswith("upload:")
    assert 0 < ann["cover"]["width"] < 1
    first = place.client.get(f"/people/{ann['person_id']}/photos", params={"limit": 2}).json()
    more = {"limit": 2, "next_token": first["next_token"]}
    rest = place.client.get(f"/people/{ann['person_id']}/photos", params=more).json()
    photos = first["photos"] + rest["photos"]
    assert [photo["number"] for photo in photos] == [1, 2, 3]
    assert rest["next_token"] is None
    assert len(place.people(min_photos=2)) == 2
    page = place.client.get("/people", params={"limit": 1}).json()
    after = place.client.get("/people", params={"limit": 1, "next_token": page["next_token"]}).json()
    assert [each["photos"] for each in page["people"] + after["people"]] == [3, 2]


def test_what_is_said_about_people_holds(place: Place) -> None:
    place.send(("ann",), ("ann",), ("ann",), ("anne",), ("bob",))
    ann, anne, bob = (each["person_id"] for each in place.people())
    named = place.client.patch(f"/people/{ann}", json={"name": "Ann", "version": 1}).json()
    assert (named["name"], named["version"], named["confirmed"]) == ("Ann", 2, True)
    stale = place.client.patch(f"/people/{ann}", json={"name": "Anna", "version": 1})
    assert (stale.status_code, stale.json()["code"]) == (409, "VersionConflict")
    merged = place.client.post("/people/merge", json={"person_ids": [ann, anne]}).json()
    assert (merged["person_id"], merged["photos"], merged["name"]) == (ann, 4, "Ann")
    photos = place.client.get(f"/people/{ann}/photos").json()["photos"]
    split = place.client.post(f"/people/{ann}/split", json={"face_ids": [photos[3]["face_id"]]})
    assert (split.status_code, split.json()["photos"]) == (201, 1)
    wrong = {"face_ids": [photos[1]["face_id"]]}
    assert place.client.post(f"/people/{ann}/not", json=wrong).status_code == 204
    assert place.client.get("/people").json()["pending"]
    assert place.client.patch(f"/people/{bob}", json={"hidden": True}).json()["hidden"]
    assert place.client.post("/people/recluster").status_code == 202
    place.drain()
    assert [(each["photos"], each["name"]) for each in place.people()] == [(2, "Ann"), (1, None), (1, None)]
    assert len(place.people(hidden=True)) == 4
    left = place.client.get(f"/people/{ann}/photos").json()["photos"]
    assert {photo["face_id"] for photo in left} == {photos[0]["face_id"], photos[2]["face_id"]}


def test_errors_have_the_one_form(place: Place) -> None:
    place.send(("ann", "bob"))
    ann, bob = (each["person_id"] for each in place.people())
    nobody = str(uuid.uuid4())
    (face,) = place.client.get(f"/people/{ann}/photos").json()["photos"]
    for method, path, body, status, code in (
        ("GET", f"/people/{nobody}", None, 404, "PersonNotFound"),
        ("GET", "/people/ann", None, 422, "InvalidRequest"),
        ("PATCH", f"/people/{ann}", {"surname": "x"}, 422, "InvalidRequest"),
        ("POST", "/people/merge", {"person_ids": [ann, bob]}, 409, "Conflict"),
        ("POST", "/people/merge", {"person_ids": [ann]}, 422, "InvalidRequest"),
        ("POST", f"/people/{ann}/split", {"face_ids": [face["face_id"]]}, 409, "Conflict"),
        ("POST", f"/people/{bob}/not", {"face_ids": [face["face_id"]]}, 409, "Conflict"),
        ("GET", "/people?next_token=x", None, 400, "InvalidPaginationToken"),
        ("GET", "/../none/people", None, 404, "AlbumNotFound"),
    ):
        answer = place.client.request(method, path, json=body)
        told = answer.json()
        assert (answer.status_code, told["code"]) == (status, code), (path, told)
        assert told["correlation_id"]


def test_the_command_line_lists_the_people(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.send(("ann", "bob"), ("ann",))
    ann, _ = place.people()
    place.client.patch(f"/people/{ann['person_id']}", json={"name": "Ann"})
    print_people(place.service, "party", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert [(each.get("Name"), each["Photos"]) for each in told["People"]] == [("Ann", 2), (None, 1)]
    assert told["Pending"] is False
    print_people(place.service, "party", least=2)
    assert ann["person_id"] in capsys.readouterr().out
