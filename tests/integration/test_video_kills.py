"""A worker that is killed in the midst of a video: another one does it anew."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from serving import wait_until

from facerec.bootstrap import open_service
from facerec.config import read_settings
from facerec.domain import LocalImage, VideoOperation, VideoState, VideoWish
from facerec.engine.fake import FakeEngine
from films import film, scene

WORKER = """
import sys, threading, time
from facerec.bootstrap import open_service
from facerec.config import read_settings
from facerec.engine.fake import FakeEngine

class SlowEngine(FakeEngine):
    def frame(self, take, nbytes):
        time.sleep(0.3)
        return super().frame(take, nbytes)

with open_service(read_settings(), engine=SlowEngine()) as service:
    service.video_worker._lease_seconds = 1.5
    service.video_worker.work(threading.Event())
"""


def test_a_video_of_a_killed_worker_is_done_anew(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(film([scene("ann", variation=number) for number in range(60)]))
    settings = read_settings(data_dir=tmp_path / "data")
    with open_service(settings, engine=FakeEngine()) as service:
        service.collections.create("guests", {})
        wish = VideoWish(operation=VideoOperation.FACE_SEARCH, video=LocalImage(path), collection="guests")
        job_id = service.videos.start(wish)
        killed = subprocess.Popen(
            [sys.executable, "-c", WORKER], env={**os.environ, "FACEREC_DATA_DIR": str(tmp_path / "data")}
        )
        wait_until(lambda: service.videos.find(job_id).progress_ms > 0)
        assert not service.video_worker.work(threading.Event()), "it is another's"
        killed.kill()
        killed.wait()
        assert service.videos.find(job_id).state is VideoState.IN_PROGRESS
        wait_until(lambda: service.video_worker.work(threading.Event()))
        job = service.videos.find(job_id)
        assert (job.state, job.attempts, job.entries) == (VideoState.SUCCEEDED, 2, 30)
        times = [seen.entry.time_ms for seen in service.videos.persons(job_id).page.items]
        assert times == list(range(0, 6000, 200)), "each once"
        assert path.exists(), "a file of its owner's is left where it is"
