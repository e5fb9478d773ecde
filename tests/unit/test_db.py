from __future__ import annotations

import contextlib
import functools
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from facerec.db import Database
from facerec.db import together as together_module
from facerec.db.numbers import is_among, number_list
from facerec.db.prepared import Prepared
from facerec.db.sealed import SealedBytes
from facerec.db.sqlite import CACHE_KIB, SWEEP_CACHE_KIB
from facerec.errors import DiskFull, DiskReadOnly, StorageError

TABLE = sa.Table("things", sa.MetaData(), sa.Column("name", sa.String), sa.Column("bulk", sa.LargeBinary))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}", patience=0.2)
    with database.write() as connection:
        TABLE.create(connection)
    yield database
    database.close()


def names(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(sa.select(TABLE.c.name).order_by(TABLE.c.name)))


def test_a_write_is_kept_and_a_failed_one_is_not(database: Database) -> None:
    with database.write() as connection:
        connection.execute(TABLE.insert().values(name="kept"))

    def fail() -> None:
        with database.write() as connection:
            connection.execute(TABLE.insert().values(name="undone"))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert names(database) == ["kept"]


def test_every_connection_is_durable(database: Database) -> None:
    with database.read() as connection:
        values = {
            pragma: connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()
            for pragma in ("journal_mode", "synchronous", "foreign_keys", "secure_delete", "page_size")
        }
    assert values == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "secure_delete": 1,
        "page_size": 8192,
    }


def test_a_sweep_has_more_memory_and_gives_it_back(database: Database) -> None:
    with database.write(sweep=True) as connection:
        inside = connection.exec_driver_sql("pragma cache_size").scalar()
        connection.execute(TABLE.insert().values(name="swept"))
    with pytest.raises(RuntimeError), database.write(sweep=True):
        raise RuntimeError
    with database.write() as connection:
        assert inside == -SWEEP_CACHE_KIB
        assert connection.exec_driver_sql("pragma cache_size").scalar() == -CACHE_KIB
    assert names(database) == ["swept"]


def test_a_read_sees_one_snapshot_while_others_write(database: Database) -> None:
    with database.read() as reader:
        before = reader.scalar(sa.select(sa.func.count()).select_from(TABLE))
        with database.write() as writer:
            writer.execute(TABLE.insert().values(name="later"))
        after = reader.scalar(sa.select(sa.func.count()).select_from(TABLE))
    assert (before, after) == (0, 0)
    assert names(database) == ["later"]


def test_a_full_disk_is_a_storage_error_and_leaves_nothing(database: Database) -> None:
    with database.write() as connection:
        connection.execute(TABLE.insert().values(name="first"))
    with database.read() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    def fill() -> None:
        with database.write() as connection:
            for index in range(50):
                connection.execute(TABLE.insert().values(name=f"second {index}", bulk=bytes(4000)))

    with pytest.raises(DiskFull, match="full"):
        fill()
    assert names(database) == ["first"]


def test_what_was_opened_on_a_read_only_disk_is_not_kept(database: Database) -> None:
    def write() -> None:
        with database.write() as connection:
            connection.execute(TABLE.insert().values(name="first"))

    with database.read() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")  # as if it had been opened on such a disk
    with pytest.raises(DiskReadOnly, match="readonly"):
        write()
    write()
    assert names(database) == ["first"]


def test_a_file_that_may_not_grow_is_a_storage_error_and_leaves_nothing(tmp_path: Path) -> None:
    program = f"""
import resource, signal, sqlalchemy as sa
from facerec.db import Database
from facerec.db.numbers import is_among, number_list
from facerec.db.prepared import Prepared
from facerec.errors import StorageError
database = Database("sqlite:///{tmp_path / "small.db"}")
with database.write() as connection:
    connection.exec_driver_sql("create table things (bulk blob)")
    connection.exec_driver_sql("insert into things values (zeroblob(10))")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    with database.write() as connection:
        for _ in range(100):
            connection.exec_driver_sql("insert into things values (zeroblob(10000))")
except StorageError as error:
    print(error)
with database.read() as connection:
    print(connection.exec_driver_sql("select count(*) from things").scalar())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    message, count = done.stdout.splitlines()
    assert "could not write" in message
    assert count == "1"


def test_a_lock_that_is_not_given_up_is_a_storage_error(database: Database, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "test.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="locked"), database.write():
        pytest.fail("the block must not run without the lock")
    assert names(database) == []
    other.close()
    with database.write() as connection:
        connection.execute(TABLE.insert().values(name="afterwards"))
    assert names(database) == ["afterwards"]


def test_a_file_that_is_no_database_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database" * 1000)
    database = Database(f"sqlite:///{tmp_path / 'text.db'}")
    with pytest.raises(StorageError, match="not a database"), database.read() as connection:
        connection.exec_driver_sql("select 1 from sqlite_master")


def test_a_missing_folder_is_a_storage_error(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'nowhere' / 'test.db'}")
    with pytest.raises(StorageError, match="unable to open"), database.write():
        pytest.fail("there is nothing to write to")


def test_an_error_does_not_tell_the_values_of_its_statement(database: Database) -> None:
    with pytest.raises(StorageError) as caught, database.write() as connection:
        connection.execute(sa.text("insert into nowhere values (:v)"), {"v": "a secret"})
    assert "a secret" not in str(caught.value)


def test_writers_in_many_threads_lose_nothing(database: Database) -> None:
    def work(thread: int) -> None:
        for index in range(20):
            with database.write() as connection:
                connection.execute(TABLE.insert().values(name=f"{thread:02} {index:02}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(database) == [f"{thread:02} {index:02}" for thread in range(8) for index in range(20)]


# --- writing together


def insert(connection: sa.Connection, name: str) -> str:
    connection.execute(TABLE.insert().values(name=name))
    return name


def together(database: Database, works: Sequence[Callable[[sa.Connection], object]]) -> list[object]:
    """The number of commits, and the works' results or errors, when they come while another commits."""
    commits: list[object] = []
    begun, go = threading.Event(), threading.Event()

    def first(connection: sa.Connection) -> str:
        begun.set()
        assert go.wait(30)
        return insert(connection, "first")

    def outcome(work: Callable[[sa.Connection], object]) -> object:
        try:
            return database.write_together(work)
        except Exception as error:  # noqa: BLE001 - it is what the test asks for
            return error

    with ThreadPoolExecutor(len(works) + 1) as pool:
        leader = pool.submit(database.write_together, first)
        assert begun.wait(30)
        waiting = [pool.submit(outcome, work) for work in works]
        while len(database._together._lanes[None].waiting) < len(works):
            time.sleep(0.001)
        sa.event.listen(database._engine, "commit", commits.append)
        go.set()
        assert leader.result() == "first"
        results = [future.result() for future in waiting]
    return [len(commits), *results]


def test_writes_that_meet_share_a_commit_and_get_their_own_results(database: Database) -> None:
    works = [functools.partial(insert, name=f"n{number}") for number in range(5)]
    commits, *results = together(database, works)
    assert results == ["n0", "n1", "n2", "n3", "n4"]
    assert commits == 2  # the first alone, and all that came meanwhile
    assert names(database) == ["first", "n0", "n1", "n2", "n3", "n4"]


def test_of_writes_that_meet_one_fails_alone(database: Database) -> None:
    def fail(connection: sa.Connection) -> None:
        insert(connection, "undone")
        raise KeyError("mine")

    def damage(connection: sa.Connection) -> None:
        insert(connection, "undone too")
        connection.execute(sa.text("no SQL"))

    works: list[Callable[[sa.Connection], object]] = [
        functools.partial(insert, name="a"),
        fail,
        functools.partial(insert, name="b"),
        damage,
    ]
    _, a, failed, b, damaged = together(database, works)
    assert (a, b) == ("a", "b")
    assert isinstance(failed, KeyError)
    assert isinstance(damaged, StorageError)
    assert names(database) == ["a", "b", "first"]


def test_a_write_that_can_not_be_committed_fails_for_all_that_share_it(
    database: Database, tmp_path: Path
) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "test.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="locked"):
            database.write_together(functools.partial(insert, name="refused"))
        other.execute("ROLLBACK")
    assert database.write_together(functools.partial(insert, name="kept")) == "kept"
    assert names(database) == ["kept"]


def test_many_threads_write_together(database: Database) -> None:
    def work(number: int) -> str:
        return database.write_together(lambda connection: insert(connection, f"{number:03}"))

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(300))) == [f"{number:03}" for number in range(300)]
    assert names(database) == [f"{number:03}" for number in range(300)]


def announced(database: Database, barrier: threading.Barrier, name: str, until: threading.Event) -> str:
    """In a thread: announce a write, wait for the others who do and for an event, and write."""
    with database.announced():
        barrier.wait(30)
        assert until.wait(60)
        return database.write_together(functools.partial(insert, name=name))


def wait_for_company(database: Database) -> None:
    """Until a write waits for company."""
    began = time.monotonic()
    while not (lane := database._together._lanes.get(None)) or not lane.committing:
        assert time.monotonic() - began < 30
        time.sleep(0.001)


@pytest.fixture
def waiting_for_one_more(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[list[object], Callable[[], None]]]:
    """Of four announced writes one has come: the commits since, and what lets another one of them come."""
    monkeypatch.setattr(together_module, "PATIENCE_SECONDS", 60.0)
    commits: list[object] = []
    sa.event.listen(database._engine, "commit", commits.append)
    barrier, come = threading.Barrier(4), [threading.Event() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        try:
            for number, event in enumerate(come):
                pool.submit(announced, database, barrier, f"n{number}", event)
            come[0].set()
            wait_for_company(database)
            time.sleep(0.05)
            assert commits == []
            yield commits, come[1].set
        finally:
            for event in come:
                event.set()


def wait_for_names(database: Database, *wanted: str) -> None:
    began = time.monotonic()
    while names(database) != list(wanted):
        assert time.monotonic() - began < 30
        time.sleep(0.01)


def test_announced_writes_wait_until_half_of_them_have_come(
    database: Database, waiting_for_one_more: tuple[list[object], Callable[[], None]]
) -> None:
    commits, another = waiting_for_one_more
    another()
    wait_for_names(database, "n0", "n1")
    assert len(commits) == 1


def test_a_write_that_was_not_announced_waits_for_none_that_was(
    database: Database, waiting_for_one_more: tuple[list[object], Callable[[], None]]
) -> None:
    commits, _ = waiting_for_one_more
    with ThreadPoolExecutor(1) as pool:
        assert (
            pool.submit(database.write_together, functools.partial(insert, name="hasty")).result(20)
            == "hasty"
        )
    wait_for_names(database, "hasty", "n0")
    assert len(commits) == 1


def test_an_announced_write_waits_for_none_that_never_comes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together_module, "PATIENCE_SECONDS", 60.0)
    barrier, come = threading.Barrier(3), [threading.Event() for _ in range(3)]

    def leaves(number: int) -> None:
        with database.announced():
            barrier.wait(30)
            assert come[number].wait(60)
            raise KeyError("mine")

    with ThreadPoolExecutor(3) as pool:
        come[0].set()
        writes = pool.submit(announced, database, barrier, "kept", come[0])
        failing = [pool.submit(leaves, number) for number in (1, 2)]
        wait_for_company(database)
        come[1].set()
        come[2].set()
        assert writes.result(30) == "kept"
        assert all(isinstance(each.exception(30), KeyError) for each in failing)
    with database.announced():  # alone
        assert database.write_together(functools.partial(insert, name="alone")) == "alone"


def test_an_announced_write_waits_no_longer_than_its_patience(database: Database) -> None:
    barrier, now, never = threading.Barrier(3), threading.Event(), threading.Event()
    now.set()
    with ThreadPoolExecutor(3) as pool:
        try:
            for name in ("late", "later"):
                pool.submit(announced, database, barrier, name, never)
            assert pool.submit(announced, database, barrier, "kept", now).result(30) == "kept"
        finally:
            never.set()


@pytest.mark.parametrize("wanted", [[], [2], [3, 1, 9], list(range(2, 100_000))])
def test_numbers_are_found_by_a_list_that_is_one_parameter(database: Database, wanted: list[int]) -> None:
    table = sa.Table("numbers", sa.MetaData(), sa.Column("number", sa.BigInteger))
    with database.write() as connection:
        table.create(connection)
        connection.execute(table.insert(), [{"number": number} for number in (1, 2, 3, 2**40)])
        found = connection.scalars(
            sa.select(table.c.number).where(is_among(table.c.number, "wanted")),
            {"wanted": number_list([*wanted, 2**40])},
        ).all()
    assert sorted(found) == sorted({*{1, 2, 3}.intersection(wanted), 2**40})


def test_a_prepared_statement_gives_the_drivers_rows_in_its_transaction(database: Database) -> None:
    of_name = Prepared(
        sa.select(TABLE.c.bulk, sa.literal(7)).where(
            TABLE.c.name == sa.bindparam("wanted"), TABLE.c.name != "b"
        )
    )
    with database.write() as connection:
        connection.execute(TABLE.insert(), [{"name": name, "bulk": name.encode()} for name in "ab"])
        assert of_name.rows(connection, {"wanted": "a"}) == [(b"a", 7)]
        assert of_name.rows(connection, {"wanted": "b"}) == []
        with pytest.raises(KeyError):
            of_name.rows(connection, {})
    with database.read() as connection:
        assert of_name.rows(connection, {"wanted": "a"}) == [(b"a", 7)]


def test_prepared_statements_change_rows_and_are_undone_with_their_transaction(database: Database) -> None:
    add = Prepared(TABLE.insert().values(name=sa.bindparam("name"), bulk=sa.bindparam("bulk")))
    rename = Prepared(
        TABLE.update()
        .where(TABLE.c.name == sa.bindparam("wanted"))
        .values(name=sa.bindparam("new"))
        .returning(TABLE.c.bulk)
    )
    remove = Prepared(TABLE.delete().where(TABLE.c.name != sa.bindparam("kept")))
    with database.write() as connection:
        add.change_each(connection, [{"name": name, "bulk": name.encode()} for name in "abc"])
        assert rename.rows(connection, {"wanted": "c", "new": "d"}) == [(b"c",)]
        assert rename.rows(connection, {"wanted": "c", "new": "e"}) == []

    def fail() -> None:
        with database.write() as connection:
            assert remove.change(connection, {"kept": "a"}) == 2
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert names(database) == ["a", "b", "d"]
    with database.write() as connection:
        assert remove.change(connection, {"kept": "a"}) == 2
    assert names(database) == ["a"]


def test_a_prepared_statement_that_fails_is_a_storage_error(database: Database) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("DROP TABLE things")
    with pytest.raises(StorageError, match="read"), database.read() as connection:
        Prepared(sa.select(TABLE.c.name)).rows(connection, {})


def test_what_only_sqlalchemy_can_read_or_write_is_not_prepared(database: Database) -> None:
    sealed = sa.Table("sealed", sa.MetaData(), sa.Column("codes", SealedBytes))
    with pytest.raises(TypeError):
        Prepared(sa.select(sealed.c.codes))
    written = Prepared(sealed.insert().values(codes=sa.bindparam("codes")))
    with pytest.raises(TypeError), database.write() as connection:
        written.change(connection, {"codes": b"plain"})
