"""Workers that are killed in the midst of a video: another one does it anew, and none does it for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from job_workers import workers, workers_of
from serving import wait_until

from facerec.bootstrap import Service, open_service, open_worker
from facerec.config import Settings, read_settings
from facerec.domain import LocalImage, VideoOperation, VideoState, VideoWish
from facerec.engine.fake import FakeEngine
from facerec.workers.loop import WorkerThread
from films import film, scene

SETTINGS = {"FACEREC_JOB_LEASE_SECONDS": "3", "FACEREC_SPOT_NOTICE": "off"}

SLOW_WORKER = """
import threading, time
from facerec.bootstrap import open_service, open_worker
from facerec.config import read_settings
from facerec.engine.fake import FakeEngine

class SlowEngine(FakeEngine):
    def frame(self, take, nbytes):
        time.sleep(0.3)
        return super().frame(take, nbytes)

with open_service(read_settings(), engine=SlowEngine()) as service:
    open_worker(service, 2).run(threading.Event())
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings(data_dir=tmp_path / "data")


def start(service: Service, folder: Path) -> str:
    """A search in a film of six seconds, 30 frames of which are looked at."""
    path = folder / "film.mp4"
    path.write_bytes(film([scene("ann", variation=number) for number in range(60)]))
    service.collections.create("guests")
    wish = VideoWish(operation=VideoOperation.FACE_SEARCH, video=LocalImage(path), collection="guests")
    return service.videos.start(wish)


def test_a_video_of_killed_workers_is_done_by_the_next(tmp_path: Path, settings: Settings) -> None:
    """A slow one, and one of two processes of `facerec worker`; in the end every frame is there once."""
    with open_service(settings, engine=FakeEngine()) as service:
        job_id = start(service, tmp_path)
        killed = subprocess.Popen(
            [sys.executable, "-c", SLOW_WORKER],
            env={**os.environ, **SETTINGS, "FACEREC_DATA_DIR": str(tmp_path / "data")},
        )
        wait_until(lambda: service.videos.find(job_id).progress_ms > 0)
        assert service.jobs.lease(service.videos.job_kinds, 1, seconds=1) == [], "it is another's"
        killed.kill()
        killed.wait()
        job = service.videos.find(job_id)
        assert (job.state, job.attempts) == (VideoState.IN_PROGRESS, 1)
        with workers(tmp_path / "data", SETTINGS, "--processes", "2") as process:
            wait_until(lambda: len(workers_of(process.pid)) == 2)
            children_before = workers_of(process.pid)
            os.kill(children_before[0], 9)
            wait_until(lambda: service.videos.find(job_id).state is not VideoState.IN_PROGRESS)
        job = service.videos.find(job_id)
        assert (job.state, job.entries) == (VideoState.SUCCEEDED, 30)
        assert job.attempts >= 2
        times = [seen.entry.time_ms for seen in service.videos.persons(job_id).page.items]
        assert times == list(range(0, 6000, 200)), "each once"
        assert service.jobs.counts().get("video") is None
        assert (tmp_path / "film.mp4").exists(), "a file of its owner's is left where it is"


def test_a_video_that_kills_every_worker_has_failed_in_the_end(tmp_path: Path, settings: Settings) -> None:
    with open_service(settings, engine=FakeEngine()) as service:
        job_id = start(service, tmp_path)
        for attempt in (1, 2, 3, 4):  # as workers do that begin it and are heard of no more
            wait_until(lambda: service.jobs.lease(service.videos.job_kinds, 1, seconds=0.05))
            assert service.videos.find(job_id).state is VideoState.IN_PROGRESS, attempt
        worker = WorkerThread(open_worker(service, 1))
        wait_until(lambda: service.videos.find(job_id).state is VideoState.FAILED)
        worker.close()
        job = service.videos.find(job_id)
        assert job.message == "The video was begun 4 times and never finished."
        service.videos.dispatch_all()
        assert service.jobs.lease(service.videos.job_kinds, 1, seconds=1) == []


def test_a_job_that_the_queue_has_lost_is_put_again(tmp_path: Path, settings: Settings) -> None:
    with open_service(settings, engine=FakeEngine()) as service:
        job_id = start(service, tmp_path)
        service.jobs.done(service.jobs.lease(service.videos.job_kinds, 1, seconds=60))
        service.videos.dispatch_all()
        service.videos.dispatch_all()
        (job,) = service.jobs.lease(service.videos.job_kinds, 10, seconds=60)
        service.video_work.do(job, lambda: None)
        assert service.videos.find(job_id).state is VideoState.SUCCEEDED
