from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from facerec.config import read_settings
from facerec.db import Database
from facerec.db.clock import database_time
from facerec.metastore import leases, open_metastore
from facerec.metastore.leases import Lease

START = 1_800_000_000.0


@pytest.fixture
def database(tmp_path: Path, database_url: str | None) -> Iterator[Database]:
    database = open_metastore(read_settings(data_dir=tmp_path, database_url=database_url))
    yield database
    database.close()


def take(database: Database, holder: str, seconds: float, now: float) -> bool:
    with database.write() as connection:
        return leases.take(connection, "sweep", holder, seconds, now=now)


def test_one_holds_a_lease_until_its_deadline(database: Database) -> None:
    assert take(database, "a", 30, START)
    assert not take(database, "b", 30, START + 29.9)
    assert take(database, "b", 30, START + 30)
    assert not take(database, "a", 30, START + 31)


def test_its_holder_renews_it(database: Database) -> None:
    assert take(database, "a", 30, START)
    assert take(database, "a", 30, START + 20)
    assert not take(database, "b", 30, START + 40)
    with database.read() as connection:
        assert leases.find(connection, "sweep", now=START + 40) == leases.LeaseState("a", START + 50)
        assert leases.find(connection, "sweep", now=START + 50) is None


def test_a_lease_given_back_is_free_and_only_its_holder_gives_it_back(database: Database) -> None:
    first, second = Lease(database, "sweep", seconds=60), Lease(database, "sweep", seconds=60)
    assert first.take()
    second.give_back()
    assert not second.take()
    first.give_back()
    assert second.take()


def test_leases_of_two_names_do_not_meet(database: Database) -> None:
    assert Lease(database, "sweep", seconds=60).take()
    assert Lease(database, "catch up", seconds=60).take()


def test_the_databases_clock_is_the_worlds(database: Database) -> None:
    with database.read() as connection:
        first = database_time(connection)
        second = database_time(connection)
    assert START - 3e8 < first <= second < first + 60


def test_a_lease_taken_in_a_transaction_that_is_undone_is_free(database: Database) -> None:
    def fail() -> None:
        with database.write() as connection:
            assert leases.take(connection, "sweep", "a", 60)
            raise ValueError("undo it")

    with pytest.raises(ValueError, match="undo it"):
        fail()
    assert Lease(database, "sweep", seconds=60, holder="b").take()


CONTENDER = """
import sys
from facerec.config import read_settings
from facerec.metastore import open_metastore
from facerec.metastore.leases import Lease
database = open_metastore(read_settings(data_dir=sys.argv[1], database_url=sys.argv[2] or None))
lease = Lease(database, "work", seconds=600)
print("ready", flush=True)
sys.stdin.readline()
print(lease.take(), flush=True)
sys.stdin.readline()  # held until told or killed
"""


def test_of_several_processes_one_has_the_lease_and_a_killed_ones_runs_out(
    tmp_path: Path, database: Database, database_url: str | None
) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CONTENDER, str(tmp_path), database_url or ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [process.stdout.readline() for process in started if process.stdout is not None]
    finally:
        for process in started:
            process.kill()
            process.communicate()
    assert sorted(answers) == ["False\n"] * 3 + ["True\n"]
    mine = Lease(database, "work", seconds=60)
    assert not mine.take()
    with database.write() as connection:
        now = database_time(connection)
        assert leases.find(connection, "work", now=now) is not None
        assert leases.take(connection, "work", mine.holder, 60, now=now + 601)
    assert mine.take()
