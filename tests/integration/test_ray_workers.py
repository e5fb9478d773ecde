"""`facerec worker --ray` over a local cluster of two actors, one of which is killed at work."""

from __future__ import annotations

import os
import signal
import time
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
from facerec.config import read_settings

IMAGES = 60
PATIENCE_SECONDS = 120.0


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
def test_the_work_of_an_actor_that_dies_is_done_again(
    tmp_path: Path, s3_url: str, own: dict[str, str]
) -> None:
    pytest.importorskip("ray")
    settings = read_settings(data_dir=tmp_path / "data")
    fill_bucket(s3_url, IMAGES)
    enqueue(settings, IMAGES)
    killed = False
    deadline = time.monotonic() + PATIENCE_SECONDS
    with workers(tmp_path / "data", own, "--ray") as process:
        while open_jobs(settings) != 0:
            assert time.monotonic() < deadline, (tmp_path / "worker.log").read_text()[-3000:]
            if not killed and open_jobs(settings) < IMAGES:
                os.kill(actors(process.pid)[0], signal.SIGKILL)
                killed = True
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (tmp_path / "worker.log").read_text()[-3000:]
    assert killed
    assert faces_by_image(settings) == expected_faces(IMAGES)
    with open_queue(settings) as queue:
        assert queue.list_set_aside() == []
