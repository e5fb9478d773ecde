"""`facerec worker --ray` over a local cluster of two actors, which are killed at work."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from job_workers import (
    children_of,
    enqueue,
    expected_faces,
    faces_by_image,
    fill_bucket,
    open_jobs,
    workers,
)
from video_workers import (
    check_a_detection,
    check_a_search_whose_workers_are_killed,
    service_without_workers,
)
from wire_server import REGION, Running

from facerec.bootstrap import open_queue
from facerec.config import Settings

IMAGES = 40
PATIENCE_SECONDS = 400.0


@dataclass(frozen=True)
class Cluster:
    """`facerec worker --ray` over a data folder."""

    process: subprocess.Popen[bytes]
    settings: Settings
    log: Path

    @property
    def actors(self) -> list[int]:
        """The processes of its actors."""
        return actors(self.process.pid)


@pytest.fixture(scope="module")
def service(s3_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings_of(s3_url).items():
            environment.setenv(name, value)
        with service_without_workers(tmp_path_factory.mktemp("ray") / "data", s3_url) as service:
            yield service


@pytest.fixture(scope="module")
def cluster(s3_url: str, service: Running) -> Iterator[Cluster]:
    settings = service.service.settings
    with workers(settings.data_dir, settings_of(s3_url), "--ray") as process:
        yield Cluster(process, settings, settings.data_dir.parent / "worker.log")


def settings_of(s3_url: str) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "FACEREC_S3_ENDPOINT_URL": s3_url,
        "FACEREC_SPOT_NOTICE": "off",
        "FACEREC_RAY_ACTOR_CPUS": "1",
        "FACEREC_JOB_LEASE_SECONDS": "5",
        "RAY_OVERRIDE_RESOURCES": '{"CPU": 2}',
    }


def actors(process_id: int) -> list[int]:
    """The processes of actors below a process."""
    found = []
    for child in children_of(process_id):
        try:
            title = Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            continue
        found += [child] if title.startswith(b"ray::JobActor") else []
        found += actors(child)
    return found


@pytest.mark.slow
def test_a_video_of_actors_that_die_is_done_by_others(service: Running, cluster: Cluster) -> None:
    check_a_search_whose_workers_are_killed(service, lambda: cluster.actors)
    check_a_detection(service)


@pytest.mark.slow
def test_the_images_of_actors_that_die_are_done_again_and_the_rest_waits(
    s3_url: str, cluster: Cluster
) -> None:
    """All at once: what was at work counts an attempt, and until one is there again nothing is begun."""
    fill_bucket(s3_url, IMAGES)
    enqueue(cluster.settings, IMAGES)
    killed, most = 0, 0
    deadline = time.monotonic() + PATIENCE_SECONDS
    with open_queue(cluster.settings) as queue:
        while (left := open_jobs(queue)) != 0:
            assert time.monotonic() < deadline, cluster.log.read_text()[-3000:]
            if not killed and left < IMAGES:
                for actor in cluster.actors:
                    os.kill(actor, signal.SIGKILL)
                    killed += 1
            most = max(most, attempts(cluster.settings))
            time.sleep(0.02)
    cluster.process.send_signal(signal.SIGTERM)
    assert cluster.process.wait(60) == 0, cluster.log.read_text()[-3000:]
    assert killed
    assert most <= 2
    assert ", 0 to be tried again, " in cluster.log.read_text()
    assert faces_by_image(cluster.settings) == expected_faces(IMAGES)
    with open_queue(cluster.settings) as queue:
        assert queue.list_set_aside() == []


def attempts(settings: Settings) -> int:
    """Most attempts of a job that is not done."""
    with closing(sqlite3.connect(settings.data_dir / "facerec.db")) as database:
        return int(database.execute("SELECT coalesce(max(attempts), 0) FROM jobs").fetchone()[0])
