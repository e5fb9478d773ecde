"""What every session store does, whatever it keeps its entries in."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest
import sqlalchemy as sa
from redis import Redis

from facerec.config import read_settings
from facerec.db import Database
from facerec.errors import QuotaExceeded, SessionStoreUnavailable
from facerec.metastore import open_metastore
from facerec.sessions.base import MOST_BYTES, Change, SessionStore
from facerec.sessions.embedded import remove_expired
from facerec.sessions.opening import open_sessions
from redis_server import RedisServer

THREADS = 8
LONG = 60.0
SLOWLY = 1e-3
"""Tokens a second: none comes while a test runs."""

OpenStore = Callable[[], SessionStore]
"""Opens the store as one more process would."""


@contextlib.contextmanager
def opened(**settings: object) -> Iterator[tuple[OpenStore, Database]]:
    read = read_settings(**settings)
    with contextlib.closing(open_metastore(read)) as database:
        yield lambda: open_sessions(read, database), database


@pytest.fixture(scope="module", params=["SQLite alone", "SQLite", "PostgreSQL", "Redis", "Redis, sealed"])
def store_and_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[OpenStore, Database]]:
    folder = tmp_path_factory.mktemp("sessions")
    with contextlib.ExitStack() as stack:
        settings: dict[str, object] = {"data_dir": folder}
        if request.param == "SQLite":
            settings["workers"] = 2
        elif request.param == "PostgreSQL":
            server = request.getfixturevalue("postgres_server")
            database: AbstractContextManager[str] = server.database()
            settings["database_url"] = stack.enter_context(database)
        elif request.param.startswith("Redis"):
            settings["redis_url"] = request.getfixturevalue("redis_server").url
        if request.param.endswith("sealed"):
            settings["embedding_key"] = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
        yield stack.enter_context(opened(**settings))


@pytest.fixture
def store(store_and_database: tuple[OpenStore, Database]) -> Iterator[SessionStore]:
    with contextlib.closing(store_and_database[0]()) as store:
        yield store


@pytest.fixture
def kind() -> str:
    """One that no other test has."""
    return f"test*{uuid.uuid4()}"


def at_once(work: Callable[[int], object], times: int) -> list[object]:
    """The results of `work`, called so often by threads that begin together."""
    ready = threading.Barrier(THREADS)

    def begin(number: int) -> object:
        if number < THREADS:
            ready.wait()
        return work(number)

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(begin, range(times)))


def test_an_entry_is_kept_replaced_and_removed(store: SessionStore, kind: str) -> None:
    value = bytes(range(256))
    assert store.get(kind, "a") is None
    store.put(kind, "a", value, seconds=LONG)
    assert store.get(kind, "a") == value
    store.put(kind, "a", b"", seconds=LONG)
    assert store.get(kind, "a") == b""
    assert store.delete(kind, "a")
    assert not store.delete(kind, "a")
    assert store.get(kind, "a") is None


def test_another_process_sees_it(store_and_database: tuple[OpenStore, Database], kind: str) -> None:
    one, other = store_and_database[0](), store_and_database[0]()
    one.put(kind, "a", b"seen", seconds=LONG)
    assert other.get(kind, "a") == b"seen"
    other.close()
    one.close()


def test_an_entry_that_has_passed_its_end_is_not_found(store: SessionStore, kind: str) -> None:
    store.put(kind, "short", b"value", seconds=0.01)
    store.put(kind, "changed", b"value", seconds=0.01)
    store.put(kind, "removed", b"value", seconds=0.01)
    store.put(kind, "long", b"value", seconds=LONG)
    time.sleep(0.05)
    assert store.get(kind, "short") is None
    assert not store.delete(kind, "removed")
    assert store.change(kind, "changed", lambda value: Change(b"none" if value is None else value, LONG))
    assert store.get(kind, "changed") == b"none"
    assert store.get(kind, "long") == b"value"


def test_a_change_says_what_is_kept_and_for_how_long(store: SessionStore, kind: str) -> None:
    assert store.change(kind, "a", lambda value: Change(value, LONG)) is None
    assert store.change(kind, "a", lambda value: Change((value or b"") + b"x", LONG)) == b"x"
    assert store.change(kind, "a", lambda value: Change((value or b"") + b"x", 0.01)) == b"xx"
    time.sleep(0.05)
    assert store.change(kind, "a", lambda value: Change((value or b"") + b"x", LONG)) == b"x"
    assert store.change(kind, "a", lambda _: Change(None, LONG)) is None
    assert store.get(kind, "a") is None


def test_an_error_of_who_decides_changes_nothing(store: SessionStore, kind: str) -> None:
    def refuse(_value: bytes | None) -> Change:
        raise LookupError("no")

    store.put(kind, "a", b"kept", seconds=LONG)
    with pytest.raises(LookupError):
        store.change(kind, "a", refuse)
    assert store.get(kind, "a") == b"kept"


def test_of_many_who_change_at_once_none_is_lost(store: SessionStore, kind: str) -> None:
    """From nothing on: the first ones meet where there is no entry yet."""

    def add(number: int) -> None:
        mark = b"%d;" % number
        store.change(kind, "a", lambda value: Change((value or b"") + mark, LONG))

    at_once(add, 10 * THREADS)
    marks = (store.get(kind, "a") or b"").split(b";")[:-1]
    assert sorted(map(int, marks)) == list(range(10 * THREADS))


def test_of_many_who_take_an_entry_away_one_has_it(store: SessionStore, kind: str) -> None:
    store.put(kind, "a", b"one", seconds=LONG)
    had: list[bytes] = []

    def take_away(_number: int) -> None:
        last: list[bytes | None] = []

        def decide(value: bytes | None) -> Change:
            last.append(value)
            return Change(None, LONG)

        store.change(kind, "a", decide)
        had.extend(value for value in last[-1:] if value is not None)

    at_once(take_away, THREADS)
    assert had == [b"one"]


def test_kinds_never_meet(store: SessionStore, kind: str) -> None:
    store.put(kind, "x:a", b"1", seconds=LONG)
    store.put(f"{kind}:x", "a", b"2", seconds=LONG)
    store.put("test*", "a", b"3", seconds=LONG)
    store.delete_kind(kind)
    store.delete_kind("test*")
    assert store.get(kind, "x:a") is None
    assert store.get("test*", "a") is None
    assert store.get(f"{kind}:x", "a") == b"2"


def test_a_kind_is_removed_whole(store: SessionStore, kind: str) -> None:
    for number in range(30):
        store.put(kind, str(number), b"value", seconds=LONG)
    store.delete_kind(kind)
    assert all(store.get(kind, str(number)) is None for number in range(30))


def test_the_largest_value_is_kept_and_a_larger_one_refused(store: SessionStore, kind: str) -> None:
    store.put(kind, "a", bytes(MOST_BYTES), seconds=LONG)
    assert store.get(kind, "a") == bytes(MOST_BYTES)
    with pytest.raises(QuotaExceeded):
        store.put(kind, "a", bytes(MOST_BYTES + 1), seconds=LONG)
    with pytest.raises(QuotaExceeded):
        store.change(kind, "a", lambda _: Change(bytes(MOST_BYTES + 1), LONG))
    assert store.get(kind, "a") == bytes(MOST_BYTES)


def test_a_bucket_gives_what_it_holds_to_all_threads_together(store: SessionStore, kind: str) -> None:
    waits = at_once(lambda _: store.take(kind, per_second=SLOWLY, burst=25), 10 * THREADS)
    assert waits.count(0.0) == 25
    assert all(0 < float(str(wait)) <= 1 / SLOWLY for wait in waits if wait)


def test_a_bucket_fills_again(store: SessionStore, kind: str) -> None:
    assert store.take(kind, per_second=50, burst=2) == 0
    assert store.take(kind, per_second=50, burst=2) == 0
    wait = store.take(kind, per_second=50, burst=2)
    if wait:  # a slow machine may have got its next one by now
        assert wait <= 1 / 50
        time.sleep(wait + 0.001)  # a clock that is being set right is a few microseconds behind
    assert store.take(kind, per_second=50, burst=2) == 0


def test_a_bucket_never_holds_more_than_its_burst(store: SessionStore, kind: str) -> None:
    assert store.take(kind, per_second=1000, burst=3) == 0
    time.sleep(0.05)
    taken = [store.take(kind, per_second=SLOWLY, burst=3) for _ in range(4)]
    assert [wait == 0 for wait in taken] == [True, True, True, False]


def test_buckets_have_a_measure(store: SessionStore, kind: str) -> None:
    with pytest.raises(ValueError, match="gains more than 0"):
        store.take(kind, per_second=0, burst=1)
    with pytest.raises(ValueError, match="holds 1 or more"):
        store.take(kind, per_second=1, burst=0)


def test_a_store_that_is_there_answers(store: SessionStore) -> None:
    store.ping()


# --- what is of one backend


@pytest.mark.parametrize("name", ["SQLite", "PostgreSQL"])
def test_processes_on_one_database_share_buckets_and_the_sweeper_forgets_what_is_past(
    name: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("shared")
    with contextlib.ExitStack() as stack:
        url = None
        if name == "PostgreSQL":
            url = stack.enter_context(request.getfixturevalue("postgres_server").database())
        open_store, database = stack.enter_context(opened(data_dir=folder, workers=2, database_url=url))
        stores = [open_store(), open_store()]
        taken = at_once(lambda number: stores[number % 2].take("b", per_second=SLOWLY, burst=5), 16)
        assert taken.count(0.0) == 5
        stores[0].take("full again soon", per_second=1000, burst=1)
        stores[0].put("kind", "short", b"value", seconds=0.01)
        stores[0].put("kind", "long", b"value", seconds=LONG)
        time.sleep(0.05)
        with database.write() as connection:
            assert remove_expired(connection) == 2
        assert stores[1].get("kind", "long") == b"value"


def test_a_database_that_refuses_is_told_as_an_unavailable_store(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with opened(data_dir=tmp_path_factory.mktemp("gone"), workers=2) as (open_store, database):
        store = open_store()
        with database.write() as connection:
            connection.execute(sa.text("DROP TABLE session_entries"))
        with pytest.raises(SessionStoreUnavailable):
            store.get("kind", "key")
        with pytest.raises(SessionStoreUnavailable):
            store.take("bucket", per_second=1, burst=1)


def test_redis_killed_in_the_midst_is_told_at_once_and_what_it_acknowledged_is_back_with_it(
    redis_server: RedisServer, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with opened(data_dir=tmp_path_factory.mktemp("redis"), redis_url=redis_server.url) as (open_store, _):
        store = open_store()
        store.put(kind, "a", b"acknowledged", seconds=LONG)
        store.take(kind, per_second=SLOWLY, burst=1)
        redis_server.kill()
        try:
            for ask in (
                store.ping,
                lambda: store.get(kind, "a"),
                lambda: store.put(kind, "b", b"", seconds=LONG),
                lambda: store.change(kind, "a", lambda _: Change(None, LONG)),
                lambda: store.take(kind, per_second=SLOWLY, burst=1),
            ):
                with pytest.raises(SessionStoreUnavailable):
                    ask()
        finally:
            redis_server.start()
        assert store.get(kind, "a") == b"acknowledged"
        assert store.take(kind, per_second=SLOWLY, burst=1) > 0
        store.close()


def test_a_redis_that_does_not_answer_is_given_up(tmp_path_factory: pytest.TempPathFactory) -> None:
    """It takes connections and says nothing: the wait is bounded."""
    folder = tmp_path_factory.mktemp("silent")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        with opened(data_dir=folder, redis_url=url) as (open_store, _):
            store = open_store()
            with pytest.raises(SessionStoreUnavailable):
                store.get("kind", "key")
            store.close()


def test_sealed_values_can_not_be_read_in_redis(
    redis_server: RedisServer, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    key = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
    folder = tmp_path_factory.mktemp("sealed")
    with opened(data_dir=folder, redis_url=redis_server.url, embedding_key=key) as (open_store, _):
        store = open_store()
        store.put(kind, "a", b"an embedding", seconds=LONG)
        with Redis(port=redis_server.port) as client:
            stored = [client.get(name) for name in client.scan_iter("facerec:*") if name.endswith(b":a")]
        assert stored
        assert all(b"an embedding" not in value for value in stored if value)
        store.close()
