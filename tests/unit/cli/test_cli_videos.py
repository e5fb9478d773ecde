"""`facerec video`, `facerec videos` and `facerec watch`, with films that a test makes and serves."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from command_line import Run, command_line, three_pictures  # noqa: F401 - fixtures

from films import film, scene

PIECES = 10
"""Pieces in which a stream is sent, a tenth of a second apart."""


class Camera:
    """Serves a stream over HTTP that takes its time: it breaks off, comes once more, and is gone then."""

    def __init__(self, stream: bytes) -> None:
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                if outer.asked > 2:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "video/mp2t")
                self.end_headers()
                size = len(stream) // PIECES + 1
                for start in range(0, len(stream), size):
                    self.wfile.write(stream[start : start + size])
                    time.sleep(0.1)

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/live.ts"


@pytest.fixture
def camera() -> Iterator[Camera]:
    camera = Camera(film([scene("ann", variation=n) for n in range(20)], container="mpegts"))
    yield camera
    camera.server.shutdown()
    camera.server.server_close()


@pytest.fixture
def guests(facerec: Run, pictures: Path) -> str:
    assert facerec("index", pictures, "--collection", "guests", "--create").code == 0
    return "guests"


def test_who_is_in_a_film_and_when(facerec: Run, guests: str, tmp_path: Path) -> None:
    path = tmp_path / "party.mp4"
    path.write_bytes(film([scene("ann", "zoe", variation=n) for n in range(10)] + [scene()] * 10))
    drawn = tmp_path / "drawn.png"
    done = facerec("video", path, "--collection", guests, "--timeline", drawn, "--json")
    assert done.code == 0, done.err
    persons = done.json["Persons"]
    names = [
        [match["Face"]["ExternalImageId"] for match in person.get("FaceMatches", [])] for person in persons
    ]
    assert names == [["a.png"], []]
    assert persons[0]["Appearances"] == [{"FirstTimestamp": 0, "LastTimestamp": 800}]
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert path.exists()

    job_id = done.json["JobId"]
    assert job_id in facerec("videos", "list").out
    again = tmp_path / "again.png"
    assert facerec("videos", "timeline", job_id, "-o", again).code == 0
    assert again.exists()
    assert "a.png" in facerec("video", path, "--collection", guests).out


def test_what_is_no_film_is_one_line(facerec: Run, guests: str, pictures: Path) -> None:
    done = facerec("video", pictures / "a.png", "--collection", guests)
    assert done.code == 1
    assert "no video" in done.err
    assert facerec("video", "nowhere.mp4", "--collection", guests).code == 1


def test_a_stream_is_watched_and_opened_again(facerec: Run, guests: str, camera: Camera) -> None:
    done = facerec("watch", camera.url, "--collection", guests, "--fps", 20, "--reconnects", 1)
    assert done.code == 0, done.err
    assert camera.asked == 3
    told = done.err.splitlines()
    assert len(told) == 3
    assert told[-1] == "the stream broke off: HTTPNotFoundError"
    seen = [json.loads(line)["FaceSearchResponse"][0] for line in done.out.splitlines()]
    assert len(seen) >= 4
    assert all(each["MatchedFaces"][0]["Face"]["ExternalImageId"] == "a.png" for each in seen)


def test_events_are_records_of_a_stream_processor(facerec: Run, guests: str, tmp_path: Path) -> None:
    path = tmp_path / "live.mp4"
    path.write_bytes(film([scene("ann", "zoe", variation=n) for n in range(10)]))
    done = facerec("watch", path, "--collection", guests, "--fps", 10, "--reconnects", 0)
    assert done.code == 0, done.err
    records = [json.loads(line) for line in done.out.splitlines()]
    assert 3 <= len(records) <= 10
    for record in records:
        assert set(record) == {"InputInformation", "StreamProcessorInformation", "FaceSearchResponse"}
        assert record["StreamProcessorInformation"] == {"Status": "RUNNING"}
        first, second = record["FaceSearchResponse"]
        assert set(first["DetectedFace"]) == {"BoundingBox", "Confidence", "Landmarks", "Pose", "Quality"}
        assert first["MatchedFaces"][0]["Face"]["ExternalImageId"] == "a.png"
        assert first["MatchedFaces"][0]["Similarity"] > 90
        assert second["MatchedFaces"] == []
    offsets = [record["InputInformation"]["KinesisVideo"]["FrameOffsetInSeconds"] for record in records]
    assert offsets == sorted(offsets)


def test_a_stream_that_is_not_there_is_tried_again_and_given_up(facerec: Run, guests: str) -> None:
    done = facerec("watch", "http://127.0.0.1:9/none", "--collection", guests, "--reconnects", 1)
    assert done.code == 0
    assert done.out == ""
    assert done.err.count("broke off") == 2
