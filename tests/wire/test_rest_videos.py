"""Videos over REST: sent or named, looked at, answered, taken away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from wire_server import Running, inline, running

from facerec.engine.fake import draw
from films import film, scene


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("service")
    with running(folder, background=True, max_video_bytes=500_000, max_body_bytes=15_000) as server:
        client = server.client()
        client.create_collection(CollectionId="guests")
        client.index_faces(CollectionId="guests", Image=inline(draw("ann")), ExternalImageId="ann")
        yield server


@pytest.fixture
def api(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{server.url}/api/v1") as client:
        yield client


def ended(api: httpx.Client, job_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while True:
        job: dict[str, Any] = api.get(f"/videos/{job_id}").raise_for_status().json()
        if job["status"] != "IN_PROGRESS":
            return job
        assert time.monotonic() < deadline
        time.sleep(0.05)


def uploads(server: Running) -> list[str]:
    return [path.name for path in server.service.settings.videos_folder.glob("*.video")]


def test_a_video_is_sent_looked_at_and_not_kept(api: httpx.Client, server: Running) -> None:
    data = film([scene("ann", variation=n) for n in range(10)])
    assert len(data) > 15_000, "more than other bodies may have"
    sent = api.post("/videos/upload", params={"collection": "guests"}, content=data)
    assert sent.status_code == 202, sent.text
    job = ended(api, sent.json()["job_id"])
    assert (job["status"], job["duration_ms"], job["width"], job["height"]) == ("SUCCEEDED", 1000, 320, 240)
    (person,) = job["persons"]
    assert person["appearances"] == [{"first_ms": 0, "last_ms": 800}]
    assert person["matches"][0]["external_image_id"] == "ann"
    assert uploads(server) == []
    assert job["job_id"] in [each["job_id"] for each in api.get("/videos").json()["videos"]]
    assert api.delete(f"/videos/{job['job_id']}").status_code == 204
    assert api.get(f"/videos/{job['job_id']}").status_code == 404


def test_what_is_refused_leaves_nothing_behind(api: httpx.Client, server: Running) -> None:
    large = api.post("/videos/upload", params={"collection": "guests"}, content=bytes(500_001))
    assert large.status_code == 413
    nowhere = api.post("/videos/upload", params={"collection": "none"}, content=b"film")
    assert nowhere.status_code == 404
    for place in ("/etc/passwd", "file:///etc/passwd", "s3://", "rtsp://camera/1"):
        refused = api.post("/videos", json={"video": place, "collection": "guests"})
        assert refused.status_code == 400, place
    private = api.post("/videos", json={"video": "http://127.0.0.1/film.mp4", "collection": "guests"})
    assert private.json()["code"] == "InvalidImageUrl"
    no_film = api.post(
        "/videos/upload", params={"collection": "guests"}, content=b"#EXTM3U\nfile:///etc/passwd"
    )
    job = ended(api, no_film.json()["job_id"])
    assert job["status"] == "FAILED"
    assert "no video" in job["message"]
    assert uploads(server) == []
