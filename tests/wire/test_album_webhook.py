"""The webhook is told when an album is done, at least once, with what became of its images."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from wire_server import Running, running

from facerec.engine.fake import draw
from facerec.notices.webhook import SIGNATURE, signature

SECRET = "between us"


class Hook(BaseHTTPRequestHandler):
    """A receiver that fails when it is told for the first time."""

    told: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        seconds = int(self.headers[SIGNATURE].partition(",")[0].removeprefix("t="))
        assert self.headers[SIGNATURE] == signature(SECRET, body, seconds)
        self.told.append(json.loads(body))
        self.send_response(500 if len(self.told) == 1 else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def hook() -> Iterator[HTTPServer]:
    Hook.told = []
    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def server(
    s3_url: str, hook: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Running]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr("facerec.services.albums.telling.FIRST_PAUSE_SECONDS", 0.1)
    s3 = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1")
    s3.create_bucket(Bucket="told")
    s3.put_object(Bucket="told", Key="1.png", Body=draw("ann", "ben"))
    s3.close()
    address = f"http://127.0.0.1:{hook.server_port}/told"
    with running(
        tmp_path, background=True, s3_endpoint_url=s3_url, webhook_url=address, webhook_secret=SECRET
    ) as server:
        yield server


def told(number: int) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while len(Hook.told) < number:
        assert time.monotonic() < deadline, "nobody was told"
        time.sleep(0.05)
    return Hook.told[number - 1]


def test_an_album_that_is_done_is_told(server: Running) -> None:
    with httpx.Client(base_url=f"{server.url}/api/v1") as api:
        api.post("/albums", json={"album_id": "party"}).raise_for_status()
        images = {"images": ["s3://told/1.png", "s3://told/gone.png"]}
        api.post("/albums/party/images", json=images).raise_for_status()
        first = told(1)
        assert abs(first.pop("Timestamp") / 1000 - time.time()) < 60
        assert first == {
            "API": "Album",
            "AlbumId": "party",
            "CollectionId": "party",
            "Status": "DONE",
            "Images": 2,
            "Done": 1,
            "Failed": 1,
            "Cancelled": 0,
            "Faces": 2,
        }
        again = told(2)
        again.pop("Timestamp")
        assert again == first, "what was not taken is told again"
        api.post("/albums/party/images", json=images).raise_for_status()
        api.post("/albums/party/retry").raise_for_status()
        assert told(3)["Failed"] == 1
        time.sleep(1.5)
        assert len(Hook.told) == 3, "what was taken is told no more"
