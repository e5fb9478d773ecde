"""`facerec worker` for the tests: jobs that index pictures of a bucket, and what became of them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import boto3
from commands import environment
from serving import FACEREC

from facerec.bootstrap import open_service
from facerec.config import Settings
from facerec.domain import S3Image
from facerec.engine.fake import FakeEngine, draw
from facerec.errors import JobQueueUnavailable
from facerec.jobs.base import JobQueue
from facerec.services.image_jobs import index_image_job

BUCKET = "worker-photos"


def fill_bucket(s3_url: str, count: int) -> None:
    """Lay pictures into S3: one face, two faces or none in each."""
    with closing(
        boto3.client(
            "s3",
            endpoint_url=s3_url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
    ) as client:
        client.create_bucket(Bucket=BUCKET)
        pictures = [draw(), draw("ann"), draw("ann", "ben")]
        for number in range(count):
            client.put_object(Bucket=BUCKET, Key=key_of(number), Body=pictures[number % 3])


def expected_faces(count: int) -> dict[str, int]:
    """Faces by external image id, where every picture was indexed once."""
    return {f"photos:{number:04}.png": number % 3 for number in range(count) if number % 3}


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
        for each in [*children_of(process.pid), *workers_of(process.pid)]:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        process.kill()
        process.wait()


def children_of(process_id: int) -> list[int]:
    """The processes that a process has started, oldest first."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            found += [int(status.parent.name)] if parent == process_id else []
    return sorted(found)


def workers_of(process_id: int) -> list[int]:
    """The workers of `facerec worker` with several processes, which a child of it forks; oldest first."""
    return [worker for child in children_of(process_id) for worker in children_of(child)]


def enqueue(settings: Settings, count: int) -> None:
    """Put a job for each of so many pictures."""
    with open_service(settings, engine=FakeEngine()) as service:
        service.collections.create("guests")
        service.jobs.put([index_image_job("guests", S3Image(BUCKET, key_of(n), None)) for n in range(count)])


def open_jobs(queue: JobQueue) -> int:
    """Jobs that wait or are at work; -1 where the queue does not tell."""
    try:
        return sum(each.waiting + each.leased for each in queue.counts().values())
    except JobQueueUnavailable:
        return -1


def faces_by_image(settings: Settings) -> Counter[str | None]:
    """Stored faces by their external image ids."""
    with open_service(settings, engine=FakeEngine()) as service:
        token, found = None, Counter[str | None]()
        while True:
            page = service.faces.list("guests", limit=1000, token=token).page
            found.update(face.external_image_id for face in page.items)
            token = page.next_token
            if token is None:
                return found
