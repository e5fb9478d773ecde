"""The queue in the database, where it knows more than others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from facerec.db import Database
from facerec.jobs.base import NewJob, new_holder
from facerec.jobs.embedded import EmbeddedJobs
from facerec.metastore import open_at

KIND, LONG = "work", 60.0


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with contextlib.closing(open_at(tmp_path)) as opened:
        yield opened


def test_nobody_waits_for_the_leases_of_the_dead(database: Database) -> None:
    dead, lives = new_holder(), new_holder()
    of_dead, of_living = EmbeddedJobs(database, dead), EmbeddedJobs(database, lives)
    of_dead.put([NewJob(kind=KIND, payload={"number": number}) for number in range(6)])
    held = of_dead.lease([KIND], 2, seconds=LONG)
    of_dead.done(held[:1])
    of_living.lease([KIND], 2, seconds=LONG)
    of_dead.lease([KIND], 1, seconds=LONG)
    assert of_living.counts()[KIND].leased == 4
    assert of_living.bury(dead) == 2
    assert of_living.counts()[KIND].leased == 2
    again = of_living.lease([KIND], 10, seconds=LONG)
    assert [(job.payload["number"], job.attempt) for job in again] == [(1, 2), (4, 2), (5, 1)]
    assert of_living.bury(dead) == 0
    assert of_dead.extend(held, seconds=LONG) == {job.id for job in held}
