"""`facerec worker --ray` over a local cluster of two actors, which are killed at work."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from contextlib import closing
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

from facerec.bootstrap import open_queue
from facerec.config import Settings, read_settings

IMAGES = 40
PATIENCE_SECONDS = 400.0


@pytest.fixture
def own(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    settings = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "FACEREC_S3_ENDPOINT_URL": s3_url,
        "FACEREC_SPOT_NOTICE": "off",
        "FACEREC_RAY_ACTOR_CPUS": "1",
        "FACEREC_JOB_LEASE_SECONDS": "3",
        "RAY_OVERRIDE_RESOURCES": '{"CPU": 2}',
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return settings


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
def test_the_work_of_actors_that_die_is_done_again_and_the_rest_waits(
    tmp_path: Path, s3_url: str, own: dict[str, str]
) -> None:
    """All at once: what was at work counts an attempt, and until one is there again nothing is begun."""
    pytest.importorskip("ray")
    settings = read_settings(data_dir=tmp_path / "data")
    fill_bucket(s3_url, IMAGES)
    enqueue(settings, IMAGES)
    log = tmp_path / "worker.log"
    killed, most = 0, 0
    deadline = time.monotonic() + PATIENCE_SECONDS
    with workers(tmp_path / "data", own, "--ray") as process:
        while open_jobs(settings) != 0:
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            if not killed and open_jobs(settings) < IMAGES:
                for actor in actors(process.pid):
                    os.kill(actor, signal.SIGKILL)
                    killed += 1
            most = max(most, attempts(settings))
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()[-3000:]
    assert killed
    assert most <= 2
    assert ", 0 to be tried again, " in log.read_text()
    assert faces_by_image(settings) == expected_faces(IMAGES)
    with open_queue(settings) as queue:
        assert queue.list_set_aside() == []


def attempts(settings: Settings) -> int:
    """Most attempts of a job that is not done."""
    with closing(sqlite3.connect(settings.data_dir / "facerec.db")) as database:
        return int(database.execute("SELECT coalesce(max(attempts), 0) FROM jobs").fetchone()[0])
