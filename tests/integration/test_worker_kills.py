"""`facerec worker` in processes of its own: killed again and again, told to stop, on a machine that ends."""

from __future__ import annotations

import http.server
import os
import random
import signal
import threading
import time
import uuid
from pathlib import Path

import pytest
from job_workers import (
    enqueue,
    expected_faces,
    faces_by_image,
    fill_bucket,
    open_jobs,
    workers,
    workers_of,
)

from facerec.bootstrap import open_queue
from facerec.config import read_settings

IMAGES = 240
KILLS = 2
GROWN_SECONDS = 0.3
"""Age of a worker that may be killed: before, it has done nothing."""


@pytest.fixture(scope="module")
def pictures(s3_url: str) -> None:
    fill_bucket(s3_url, IMAGES)


@pytest.fixture(params=["SQLite", "SQS over PostgreSQL"])
def place(request: pytest.FixtureRequest, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of workers over each queue; for this process too."""
    settings = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "FACEREC_S3_ENDPOINT_URL": s3_url,
        "FACEREC_JOB_LEASE_SECONDS": "3",
        "FACEREC_SPOT_NOTICE": "off",
        "FACEREC_THREADS": "2",
    }
    if request.param != "SQLite":
        settings |= {"SQS_QUEUE_NAME": f"kills-{uuid.uuid4()}", "FACEREC_SQS_ENDPOINT_URL": s3_url}
        settings["DATABASE_URL"] = request.getfixturevalue("postgres_url")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return settings


@pytest.mark.slow
def test_workers_that_are_killed_lose_no_image_and_index_none_twice(
    tmp_path: Path, pictures: None, place: dict[str, str]
) -> None:
    settings = read_settings(data_dir=tmp_path / "data")
    enqueue(settings, IMAGES)
    chance, killed = random.Random(5), 0
    seen: dict[int, float] = {}
    with (
        open_queue(settings) as queue,
        workers(tmp_path / "data", place, "--processes", "2") as process,
    ):
        while open_jobs(queue) != 0:
            time.sleep(0.1)
            now = time.monotonic()
            grown = [
                each for each in workers_of(process.pid) if now - seen.setdefault(each, now) > GROWN_SECONDS
            ]
            if grown and killed < KILLS:
                # Linux weighs niceness within a session; Ctrl+C reaches the group that has the terminal.
                assert os.getsid(grown[0]) == os.getsid(process.pid)
                assert os.getpgid(grown[0]) != os.getpgid(process.pid)
                os.kill(chance.choice(grown), signal.SIGKILL)
                killed += 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert killed >= 1
    assert faces_by_image(settings) == expected_faces(IMAGES)
    with open_queue(settings) as queue:
        assert queue.list_set_aside() == []


class Metadata(http.server.BaseHTTPRequestHandler):
    """EC2's instance metadata, IMDSv2, of a spot instance that gets its notice."""

    noticed = threading.Event()

    def do_PUT(self) -> None:
        assert self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self._answer(200, b"token")

    def do_GET(self) -> None:
        assert self.path == "/latest/meta-data/spot/instance-action"
        assert self.headers["X-aws-ec2-metadata-token"] == "token"
        if self.noticed.is_set():
            self._answer(200, b'{"action": "terminate", "time": "2026-11-26T08:22:00Z"}')
        else:
            self._answer(404, b"")

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.slow
def test_a_spot_notice_ends_the_worker_gracefully(tmp_path: Path) -> None:
    settings = read_settings(data_dir=tmp_path / "data")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Metadata.noticed.set()
        own = {"FACEREC_SPOT_NOTICE": f"http://127.0.0.1:{server.server_port}"}
        with workers(tmp_path / "data", own) as process:
            assert process.wait(60) == 0
        server.shutdown()
    assert "about to be taken away" in (tmp_path / "worker.log").read_text()
    with open_queue(settings) as queue:
        assert open_jobs(queue) == 0
