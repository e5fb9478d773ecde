"""`facerec worker --processes 2`: the process that forks the workers, and who ends when one of them does."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from job_workers import children_of, enqueue, faces_by_image, fill_bucket, open_jobs, workers, workers_of
from serving import wait_until
from worker_processes import lives

from facerec.bootstrap import open_queue
from facerec.config import Settings, read_settings

SECRET = "a-secret-of-the-settings"
IMAGES = 6


@pytest.fixture
def process(tmp_path: Path, s3_url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Two workers that are there to work."""
    (tmp_path / ".env").write_text(f"FACEREC_API_KEY={SECRET}\n")
    own = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "FACEREC_S3_ENDPOINT_URL": s3_url,
        "FACEREC_SPOT_NOTICE": "off",
    }
    with workers(tmp_path / "data", own, "--processes", "2") as process:
        wait_until(lambda: log(tmp_path).count("Jobs are done") == 2)
        yield process


def log(folder: Path) -> str:
    return (folder / "worker.log").read_text()


def do_jobs(settings: Settings) -> None:
    """Have some done."""
    enqueue(settings, IMAGES)
    with open_queue(settings) as queue:
        wait_until(lambda: open_jobs(queue) == 0)
    assert faces_by_image(settings).total() == IMAGES


def test_a_worker_is_forked_from_a_process_without_threads_and_knows_its_place(
    tmp_path: Path, process: subprocess.Popen[bytes]
) -> None:
    (forker,) = children_of(process.pid)
    assert len(list(Path(f"/proc/{forker}/task").iterdir())) == 1
    assert not [link for link in Path(f"/proc/{forker}/fd").iterdir() if "facerec.db" in os.readlink(link)]
    for worker in workers_of(process.pid):
        # Linux weighs niceness within a session; Ctrl+C reaches the group that has the terminal.
        assert os.getsid(worker) == os.getsid(process.pid)
        assert os.getpgid(worker) != os.getpgid(process.pid)
        assert os.getpriority(os.PRIO_PROCESS, worker) == os.getpriority(os.PRIO_PROCESS, process.pid) + 10
    for each in (process.pid, forker, *workers_of(process.pid)):
        assert SECRET not in Path(f"/proc/{each}/cmdline").read_text()
        assert SECRET not in Path(f"/proc/{each}/environ").read_text()


def test_a_killed_worker_is_replaced_and_works(
    tmp_path: Path, s3_url: str, process: subprocess.Popen[bytes]
) -> None:
    fill_bucket(s3_url, IMAGES)
    before = workers_of(process.pid)
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: log(tmp_path).count("Jobs are done") == 4)
    assert set(before).isdisjoint(workers_of(process.pid))
    do_jobs(read_settings(data_dir=tmp_path / "data"))
    assert "worker-1 ended with -9; another is started" in log(tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_what_killed_workers_held_is_at_work_again_long_before_its_leases_end(tmp_path: Path) -> None:
    settings = read_settings(data_dir=tmp_path / "data")
    enqueue(settings, IMAGES)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,  # an S3 that never answers
        sqlite3.connect(tmp_path / "data" / "facerec.db") as database,
    ):
        own = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "FACEREC_S3_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "FACEREC_SPOT_NOTICE": "off",
            "FACEREC_JOB_LEASE_SECONDS": "600",
        }

        def attempts() -> set[int]:
            return {row[0] for row in database.execute("SELECT attempts FROM jobs")}

        with workers(tmp_path / "data", own, "--processes", "2") as process:
            wait_until(lambda: attempts() == {1})
            for worker in workers_of(process.pid):
                os.kill(worker, signal.SIGKILL)
            wait_until(lambda: attempts() == {2})


def test_where_the_process_that_forks_is_killed_its_workers_end_and_others_come(
    tmp_path: Path, process: subprocess.Popen[bytes]
) -> None:
    (forker,) = children_of(process.pid)
    before = workers_of(process.pid)
    os.kill(forker, signal.SIGKILL)
    wait_until(lambda: not any(lives(worker) for worker in before))
    wait_until(lambda: log(tmp_path).count("Jobs are done") == 4)
    assert len(workers_of(process.pid)) == 2
    assert log(tmp_path).count("the worker ends") == 2  # as if asked to: with what was at work
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


def test_all_end_with_the_command_that_is_killed(process: subprocess.Popen[bytes]) -> None:
    below = [*children_of(process.pid), *workers_of(process.pid)]
    process.kill()
    wait_until(lambda: not any(lives(each) for each in below))


def test_a_second_signal_ends_all_at_once(process: subprocess.Popen[bytes]) -> None:
    below = [*children_of(process.pid), *workers_of(process.pid)]
    stopped = below[-1]
    os.kill(stopped, signal.SIGSTOP)  # it would never end
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: not lives(below[-2]))
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    wait_until(lambda: not any(lives(each) for each in below))
