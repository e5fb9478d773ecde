"""`facerec worker` in processes of its own: killed again and again, told to stop, on a machine that ends."""

from __future__ import annotations

import http.server
import os
import random
import signal
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from commands import environment
from serving import FACEREC

from facerec.bootstrap import open_queue, open_service
from facerec.config import Settings, read_settings
from facerec.domain import S3Image
from facerec.engine.fake import FakeEngine, draw
from facerec.errors import JobQueueUnavailable
from facerec.services.image_jobs import index_image_job

BUCKET = "worker-kills"
IMAGES = 120
KILLS = 2
GROWN_SECONDS = 2.0
"""Age of a worker that may be killed: before, it has done nothing."""


@pytest.fixture(scope="module")
def s3(s3_url: str) -> Any:
    """A bucket of pictures: one face, two faces or none in each."""
    client = boto3.client(
        "s3",
        endpoint_url=s3_url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.create_bucket(Bucket=BUCKET)
    pictures = [draw(), draw("ann"), draw("ann", "ben")]
    for number in range(IMAGES):
        client.put_object(Bucket=BUCKET, Key=key_of(number), Body=pictures[number % 3])
    return client


def key_of(number: int) -> str:
    return f"photos/{number:04}.png"


@contextmanager
def workers(folder: Path, settings: Mapping[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`facerec worker` over a data folder; killed in the end with whatever it has started."""
    with (folder.parent / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [str(FACEREC), "worker", *arguments],
            env=environment(folder, settings),
            cwd=folder.parent,
            stderr=log,
        )
    try:
        yield process
    finally:
        for child in children(process):
            os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait()


def children(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes that it has started."""
    if process.poll() is not None:
        return []
    return [
        int(each) for each in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]


def enqueue(settings: Settings, count: int = IMAGES) -> None:
    with open_service(settings, engine=FakeEngine()) as service:
        service.collections.create("guests")
        service.jobs.put([index_image_job("guests", S3Image(BUCKET, key_of(n), None)) for n in range(count)])


def open_jobs(settings: Settings) -> int:
    with open_queue(settings) as queue:
        try:
            return sum(each.waiting + each.leased for each in queue.counts().values())
        except JobQueueUnavailable:
            return -1


def faces_by_image(settings: Settings) -> Counter[str | None]:
    with open_service(settings, engine=FakeEngine()) as service:
        token, found = None, Counter[str | None]()
        while True:
            page = service.faces.list("guests", limit=1000, token=token).page
            found.update(face.external_image_id for face in page.items)
            token = page.next_token
            if token is None:
                return found


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
    tmp_path: Path, s3: Any, place: dict[str, str]
) -> None:
    settings = read_settings(data_dir=tmp_path / "data")
    enqueue(settings)
    chance, killed = random.Random(5), 0
    seen: dict[int, float] = {}
    with workers(tmp_path / "data", place, "--processes", "2") as process:
        while open_jobs(settings) != 0:
            time.sleep(0.4)
            now = time.monotonic()
            grown = [each for each in children(process) if now - seen.setdefault(each, now) > GROWN_SECONDS]
            if grown and killed < KILLS:
                os.kill(chance.choice(grown), signal.SIGKILL)
                killed += 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert killed >= 1
    expected = {f"photos:{n:04}.png": n % 3 for n in range(IMAGES) if n % 3}
    assert faces_by_image(settings) == expected
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
    assert open_jobs(settings) == 0
