from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from facerec.db import Connection, Database
from facerec.db.numbers import is_among, number_list
from facerec.db.prepared import Prepared
from facerec.errors import ConfigurationError, DatabaseBusy, DatabaseUnavailable, DiskFull, StorageError
from postgres_server import PASSWORD, PostgresServer

TABLE = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("name", sa.String(20), primary_key=True),
    sa.Column("count", sa.Integer, server_default="0"),
)


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    database = Database(postgres_url, patience=0.3, connections=4)
    with database.write() as connection:
        TABLE.create(connection)
    yield database
    database.close()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that the test may end."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


def insert(connection: Connection, name: str) -> str:
    connection.execute(TABLE.insert().values(name=name))
    return name


def names(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(sa.select(TABLE.c.name).order_by(TABLE.c.name)))


def meet(database: Database, work: Callable[[Connection], object]) -> StorageError:
    """The error that a write meets."""
    with pytest.raises(StorageError) as caught, database.write() as connection:
        work(connection)
    return caught.value


def test_a_write_is_kept_and_a_failed_one_is_not(database: Database) -> None:
    with database.write() as connection:
        insert(connection, "kept")

    def fail() -> None:
        with database.write() as connection:
            insert(connection, "undone")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert names(database) == ["kept"]


def test_a_read_sees_one_snapshot_and_changes_nothing(database: Database) -> None:
    count = sa.select(sa.func.count()).select_from(TABLE)
    with database.read() as reader:
        before = reader.scalar(count)
        with database.write() as connection:
            insert(connection, "later")
        assert (before, reader.scalar(count)) == (0, 0)
    with pytest.raises(StorageError, match="read-only"), database.read() as reader:
        insert(reader, "no")
    assert names(database) == ["later"]


def test_a_write_sees_what_the_one_it_waited_for_has_committed(database: Database) -> None:
    with database.write() as connection:
        insert(connection, "counter")
    raised = TABLE.update().values(count=TABLE.c.count + 1).returning(TABLE.c.count)
    began = threading.Event()

    def second() -> object:
        with database.write() as connection:
            connection.execute(sa.select(sa.func.count()).select_from(TABLE))
            began.set()
            return connection.scalar(raised)

    with ThreadPoolExecutor(1) as pool:
        with database.write() as connection:
            assert connection.scalar(raised) == 1
            later = pool.submit(second)
            assert began.wait(30)
        assert later.result() == 2


# --- the server goes and comes back


def test_a_restart_of_the_server_goes_unnoticed_between_transactions(own_server: PostgresServer) -> None:
    database = Database(own_server.url())
    with database.write() as connection:
        TABLE.create(connection)
    for end in (own_server.stop, own_server.kill):
        with ThreadPoolExecutor(4) as pool:  # several connections lie in the pool
            list(pool.map(lambda _: names(database), range(50)))
        end()
        own_server.start()
        assert database.look(lambda connection: connection.scalar(sa.select(TABLE.c.name).limit(1))) in (
            None,
            "after stop",
        )
        with database.write() as connection:
            insert(connection, f"after {end.__name__}")
    assert names(database) == ["after kill", "after stop"]
    database.close()


def test_while_the_server_is_away_an_error_says_so_and_what_was_begun_is_undone(
    own_server: PostgresServer,
) -> None:
    database = Database(own_server.url())
    with database.write() as connection:
        TABLE.create(connection)

    def cut(connection: Connection) -> None:
        insert(connection, "undone")
        own_server.kill()
        insert(connection, "undone too")

    error = meet(database, cut)
    assert isinstance(error, DatabaseUnavailable)
    assert error.message.endswith("Nothing was changed.")
    with pytest.raises(DatabaseUnavailable, match="refused") as caught, database.read():
        pytest.fail("there is nothing to read from")
    assert PASSWORD not in str(caught.value)
    own_server.start()
    assert names(database) == []
    with database.write() as connection:
        insert(connection, "back")
    assert names(database) == ["back"]
    database.close()


def test_a_write_lost_while_it_is_committed_is_not_done_again_and_not_said_to_be_undone(
    database: Database,
) -> None:
    """The server ends the connection in the midst of the commit: nobody here knows which way it went."""
    with database.write() as connection:
        for statement in (
            "CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$",
            "CREATE CONSTRAINT TRIGGER leaving AFTER INSERT ON things DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION leave()",
        ):
            connection.exec_driver_sql(statement)
    calls: list[str] = []

    def work(connection: Connection) -> None:
        calls.append(insert(connection, "perhaps"))

    with pytest.raises(DatabaseUnavailable, match="not known"):
        database.write_together(work)
    assert calls == ["perhaps"]


# --- others in the way


def test_a_lock_that_is_not_given_up_is_told_as_such(database: Database) -> None:
    with database.write() as holder:
        insert(holder, "same")
        error = meet(database, functools.partial(insert, name="same"))
    assert isinstance(error, DatabaseBusy)
    assert "lock timeout" in error.message


def test_a_full_disk_is_told_as_such(database: Database) -> None:
    full = sa.text("DO $$ BEGIN RAISE disk_full USING MESSAGE = 'No space left on device'; END $$")
    error = meet(database, lambda connection: connection.execute(full))
    assert isinstance(error, DiskFull)
    assert "No space left on device" in error.message


def test_a_pool_in_use_is_told_as_such(database: Database) -> None:
    with database.read(), database.read(), database.read(), database.read():
        error = meet(database, lambda connection: None)
    assert isinstance(error, DatabaseBusy)
    assert "all 4 connections (FACEREC_DATABASE_POOL) are in use" in error.message
    assert names(database) == []


def test_a_deadlock_is_resolved_and_both_writes_are_done(postgres_url: str) -> None:
    database = Database(postgres_url, patience=30)
    with database.write() as connection:
        TABLE.create(connection)
        insert(connection, "a")
        insert(connection, "b")
    met, one_is_done = threading.Barrier(2), threading.Event()
    attempts: list[str] = []

    def crossing(connection: Connection, first: str, second: str) -> None:
        attempts.append(first)
        if len(attempts) > 2:  # who was ended, and might be back before the other one goes on
            assert one_is_done.wait(30)
        raised = TABLE.update().values(count=TABLE.c.count + 1)
        connection.execute(raised.where(TABLE.c.name == first))
        if len(attempts) <= 2:  # the first time round each waits until the other holds its first row
            met.wait(30)
        connection.execute(raised.where(TABLE.c.name == second))

    with ThreadPoolExecutor(2) as pool:
        done = [
            pool.submit(
                database.write_together, functools.partial(crossing, first=one, second=other), lane=lane
            )
            for lane, (one, other) in enumerate((("a", "b"), ("b", "a")))
        ]
        for future in done:
            future.add_done_callback(lambda _: one_is_done.set())
        for future in done:
            future.result()
    with database.read() as connection:
        assert list(connection.scalars(sa.select(TABLE.c.count))) == [2, 2]
    assert len(attempts) == 3
    database.close()


def test_writes_of_a_lane_share_a_commit_and_lanes_do_not_wait_for_each_other(database: Database) -> None:
    begun, go = threading.Event(), threading.Event()
    transactions: list[int | None] = []

    def slow(connection: Connection) -> str:
        begun.set()
        assert go.wait(30)
        return insert(connection, "slow")

    def noted(connection: Connection, name: str) -> str:
        transactions.append(connection.scalar(sa.text("SELECT txid_current()")))
        return insert(connection, name)

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(database.write_together, slow, lane=1)
        assert begun.wait(30)
        assert database.write_together(functools.partial(insert, name="beside"), lane=2) == "beside"
        waiting = [
            pool.submit(database.write_together, functools.partial(noted, name=f"n{number}"), lane=1)
            for number in range(5)
        ]
        while len(database._together._lanes[1].waiting) < 5:
            assert not first.done()
        assert names(database) == ["beside"]
        go.set()
        assert [future.result() for future in waiting] == ["n0", "n1", "n2", "n3", "n4"]
    assert len(set(transactions)) == 1
    assert database._together._lanes == {}


# --- what errors tell


def test_an_error_does_not_tell_values(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    with database.write() as connection:
        insert(connection, "a secret")
    for value in ("a secret", "a secret that is too long", "a secret\0"):
        error = meet(database, functools.partial(insert, name=value))
        shown: list[BaseException | None] = [error, error.__cause__]
        if not error.__suppress_context__:
            shown.append(error.__context__)
        assert "a secret" not in "".join(map(str, shown))
        assert not isinstance(error, DatabaseUnavailable | DatabaseBusy)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://u:hush@h/d", r"begins with mysql://; it takes postgresql://"),
        ("postgresql+asyncpg://u:hush@h/d", r"begins with postgresql\+asyncpg://"),
        ("hush", "can not be read"),
    ],
)
def test_a_url_of_another_kind_is_refused_and_not_told(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        Database(url)
    assert "hush" not in str(caught.value)


def test_without_its_driver_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'facerec\[postgres\]'"):
        Database("postgresql://u:p@h/d")


def test_a_wrong_password_and_a_missing_database_are_told_without_the_password(
    postgres_server: PostgresServer,
) -> None:
    wrong = sa.make_url(postgres_server.url()).set(password="my guess")
    for url, reason in ((wrong, "password authentication failed"), (postgres_server.url("no"), "not exist")):
        database = Database(url)
        with pytest.raises(StorageError, match=reason) as caught, database.read():
            pytest.fail("nobody may read here")
        assert "my guess" not in str(caught.value)
        assert PASSWORD not in str(caught.value)
        assert "my guess" not in repr(database.url)


def test_either_scheme_and_the_options_of_the_url_are_understood(postgres_url: str) -> None:
    url = postgres_url.replace("postgresql://", "postgres://") + "?options=-c%20work_mem%3D5MB"
    database = Database(url + "&application_name=mine")
    with database.read() as connection:
        values = {
            name: connection.scalar(sa.text(f"SHOW {name}"))
            for name in ("work_mem", "application_name", "statement_timeout", "lock_timeout")
        }
    database.close()
    assert values == {
        "work_mem": "5MB",
        "application_name": "mine",
        "statement_timeout": "1min",
        "lock_timeout": "30s",
    }


def test_by_transaction_bounds_hold_and_nothing_is_left_on_the_connection(postgres_url: str) -> None:
    database = Database(postgres_url, patience=7, pooling="transaction")

    def bounds(connection: Connection) -> list[str]:
        names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        return [str(connection.scalar(sa.text(f"SHOW {name}"))) for name in names]

    bounded = ["1min", "7s", "2min"]
    for _ in range(10):
        assert database.look(bounds) == bounded
    with database.write() as connection:
        assert bounds(connection) == bounded
        assert connection.scalar(sa.text("SELECT count(*) FROM pg_prepared_statements")) == 0
    with database.write(sweep=True) as connection:
        assert bounds(connection) == ["0", *bounded[1:]]
        connection.execute(sa.text("COMMIT"))
        assert bounds(connection) == ["0", "0", "0"]
    database.close()


def test_a_stream_comes_in_lists_of_one_snapshot(database: Database) -> None:
    with database.write() as connection:
        connection.execute(TABLE.insert(), [{"name": f"{n:03}", "count": n} for n in range(250)])
    query = sa.select(TABLE.c.name, TABLE.c.count).where(TABLE.c.count >= sa.bindparam("least"))
    with database.read() as connection:
        lists = database.stream(connection, query.order_by(TABLE.c.name), {"least": 50}, size=80)
        first = next(lists)
        with database.write() as writer:
            insert(writer, "later")
        rest = list(lists)
    assert [len(rows) for rows in (first, *rest)] == [80, 80, 40]
    assert first[0] == ("050", 50)


@pytest.mark.parametrize("wanted", [[], [2], [3, 1, 9]])
def test_numbers_are_found_by_a_list_that_is_one_parameter(database: Database, wanted: list[int]) -> None:
    with database.write() as connection:
        connection.execute(TABLE.insert(), [{"name": str(n), "count": n} for n in (1, 2, 3)])
        query = sa.select(TABLE.c.count).where(is_among(TABLE.c.count, "wanted"))
        found = connection.scalars(query, {"wanted": number_list(wanted)}).all()
    assert sorted(found) == sorted({1, 2, 3}.intersection(wanted))


def test_a_prepared_statement_gives_the_drivers_rows(database: Database) -> None:
    of_names = Prepared(
        sa.select(TABLE.c.name, TABLE.c.count, sa.literal("50 %"))
        .where(is_among(TABLE.c.count, "counts"), TABLE.c.name != sa.bindparam("other"))
        .with_for_update()
    )
    with database.write() as connection:
        connection.execute(TABLE.insert(), [{"name": str(n), "count": n} for n in (1, 2, 3)])
        rows = of_names.rows(connection, {"counts": number_list([2, 3, 4]), "other": "3"})
    assert rows == [("2", 2, "50 %")]
