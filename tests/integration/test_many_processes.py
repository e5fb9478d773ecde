"""Several processes over one database: what one acknowledges every other one knows, and none may be missed.

FACEREC_SOAK_SECONDS: how long the mixed load lasts (10 by default). From a
minute on (`make soak`) what the processes hold has to stay as it is: memory, threads, open files.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flatness import MEASURED_SECONDS, Holdings, growing
from killing import times
from mixed_load import COLLECTION, MixedLoad
from serving import Server, serving
from worker_processes import lives, wait_for_workers

from facerec.bootstrap import open_service
from facerec.config import read_settings
from facerec.domain import EntityKind
from facerec.engine.fake import FakeEngine

pytestmark = pytest.mark.slow

SOAK_SECONDS = float(os.environ.get("FACEREC_SOAK_SECONDS", "10"))
DEATHS = times(5)


@contextlib.contextmanager
def service(data: Path, database_url: str | None, workers: int) -> Iterator[Server]:
    """A service of its own over the database; in the data folder where it has no address."""
    settings = {"FACEREC_WORKERS": str(workers), "LOG_LEVEL": "WARNING"}
    if database_url is not None:
        settings["DATABASE_URL"] = database_url
    data.parent.mkdir(exist_ok=True)
    with serving(data, settings=settings) as server:
        wait_for_workers(server, workers)
        yield server


def check_against_database(data: Path, database_url: str | None, load: MixedLoad) -> None:
    """Everything acknowledged is stored, once, under its id, and an index built anew agrees."""
    settings = read_settings(data_dir=data, database_url=database_url)
    with open_service(settings, engine=FakeEngine()) as opened:
        collection = opened.collections.describe(COLLECTION)
        stored: dict[str | None, str] = {}
        token = None
        while True:
            page = opened.faces.list(COLLECTION, token=token).page
            for face in page.items:
                assert face.external_image_id not in stored
                stored[face.external_image_id] = face.face_id
            token = page.next_token
            if token is None:
                break
        assert stored == load.expected()
        assert collection.face_count == len(stored)
        for kind in EntityKind:
            assert opened.vectors.verify(collection, kind) == []


def report(load: MixedLoad, seconds: float, data: Path) -> str:
    """What was done, for whoever runs this for long."""
    lines = [
        f"{what:24}{number:8}   slowest {1000 * load.slowest[what]:8.1f} ms"
        for what, number in sorted(load.counts.items())
    ]
    log = data / "facerec.db-wal"
    size = f", log {log.stat().st_size / 2**20:.1f} MiB" if log.exists() else ""
    return "\n".join([f"{seconds:.0f} s, {sum(load.counts.values())} calls{size}", *lines])


def test_no_stale_read_under_mixed_load(tmp_path: Path, database_url: str | None) -> None:
    """A service of two workers and another one beside it: three processes, as on machines of their own."""
    data = tmp_path / "first" / "data"
    beside = data if database_url is None else tmp_path / "second" / "data"
    with service(data, database_url, 2) as one, service(beside, database_url, 1) as other:
        load = MixedLoad([one, other], callers=6)
        began = time.monotonic()
        holdings = Holdings([one.process.pid, other.process.pid])
        with holdings.watched():
            load.run(lambda: load.wait(SOAK_SECONDS))
        print(report(load, time.monotonic() - began, data))
        print(holdings)
        assert SOAK_SECONDS < MEASURED_SECONDS or not growing(holdings.samples)
        assert load.counts["search_faces_by_image"] > 20
        assert one.stop() == other.stop() == 0
        assert "ERROR" not in one.output + other.output
    check_against_database(data, database_url, load)


def test_what_grows_is_told_and_what_is_flat_is_not() -> None:
    flat = {"memory MiB": [300.0, 340, 350, 352] * 5, "threads": [40.0, 41.0] * 10}
    assert growing(flat) == []
    leak = {
        "memory MiB": [300.0 + 20 * n for n in range(20)],
        "open files": [60.0 + 5 * n for n in range(20)],
    }
    assert growing(leak) == ["memory MiB grew from 540 to 640", "open files grew from 120 to 145"]


def test_workers_that_die_lose_and_double_nothing(tmp_path: Path, database_url: str | None) -> None:
    """A worker is killed at random moments: its callers see their connection end, and nothing else."""
    chance = random.Random(20)
    data = tmp_path / "data"
    with service(data, database_url, 2) as server:
        load = MixedLoad([server], callers=4, workers_die=True)
        began = time.monotonic()

        def kill() -> None:
            for _ in range(DEATHS):
                workers = wait_for_workers(server, 2)
                load.wait(chance.uniform(0.1, 1.0))
                victim = chance.choice(list(workers.values()))
                os.kill(victim, signal.SIGKILL)
                while lives(victim):
                    time.sleep(0.01)

        load.run(kill)
        print(report(load, time.monotonic() - began, data))
        assert load.counts["cut off"] > 0
        assert server.output.count("was ended by SIGKILL; another one is started.") == DEATHS
        assert server.stop() == 0
    check_against_database(data, database_url, load)
