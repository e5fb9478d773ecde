"""A job that takes its worker with it, among many that do no harm: it alone is set aside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from facerec.bootstrap import open_queue
from facerec.config import read_settings
from facerec.jobs.base import NewJob

JOBS, DEADLY = 40, 7
KIND = "work"
WORKER = """
import os, signal, sys, threading, time
from facerec.bootstrap import open_queue
from facerec.config import read_settings
from facerec.workers.loop import Worker, WorkerPolicy

stopping = threading.Event()

def do(job, control):
    time.sleep(0.02)
    if job.payload["number"] == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.1)
    with open(sys.argv[1], "a") as done:
        done.write(f"{job.payload['number']}\\n")

with open_queue(read_settings()) as queue:
    policy = WorkerPolicy(threads=8, batch=10, lease_seconds=1.0, attempts=5)
    threading.Thread(target=Worker(queue, {"work": do}, policy).run, args=(stopping,), daemon=True).start()
    while any(count.waiting + count.leased for count in queue.counts().values()):
        time.sleep(0.1)
    stopping.set()
"""


@pytest.mark.slow
@pytest.mark.parametrize("queue_name", [None, "deadly"])
def test_a_deadly_job_is_set_aside_and_takes_no_other_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3_url: str, queue_name: str | None
) -> None:
    monkeypatch.setenv("FACEREC_DATA_DIR", str(tmp_path))
    if queue_name is not None:  # moto's S3 is its SQS too
        own = {"SQS_QUEUE_NAME": queue_name, "FACEREC_SQS_ENDPOINT_URL": s3_url}
        for name, value in {**own, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}.items():
            monkeypatch.setenv(name, value)
    done = tmp_path / "done"
    with open_queue(read_settings()) as queue:
        queue.put([NewJob(kind=KIND, payload={"number": number}, key=str(number)) for number in range(JOBS)])
        deaths = 0
        while subprocess.run([sys.executable, "-c", WORKER, str(done), str(DEADLY)], check=False).returncode:
            deaths += 1
            assert deaths < 20
        (aside,) = queue.list_set_aside()
    assert aside.payload["number"] == DEADLY
    assert deaths == 5
    assert {int(line) for line in done.read_text().split()} == set(range(JOBS)) - {DEADLY}
