"""What is remembered for minutes, in the service's own database: no server beside it is needed.

Times are by the database's clock. An entry's value is sealed where embeddings are (FACEREC_EMBEDDING_KEY).
Several processes on one database share entries and buckets; the buckets of a process that is alone are in its
memory.
"""

from __future__ import annotations

import random
import secrets
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from facerec.db import Connection, Database
from facerec.db.clock import NOW, database_time
from facerec.db.sealed import SealedBytes
from facerec.errors import SessionStoreUnavailable, StorageError
from facerec.sessions.base import Change, check_size
from facerec.sessions.buckets import TOLERANCE, Buckets, rate_of

RATES = "~rate"
"""Kind of the entries that are token buckets: no value, and their end is when the bucket is full again."""

PATIENCE_SECONDS = 10.0
"""How long a change gives way to others before it is given up."""

# The table itself is one of the metastore's, which makes it.
_entries = sa.table(
    "session_entries",
    sa.column("kind", sa.String),
    sa.column("key", sa.String),
    sa.column("version", sa.BigInteger),
    sa.column("value", SealedBytes),
    sa.column("expires_at", sa.Double),
)

_ROW = (
    "INSERT INTO session_entries (kind, key, version, value, expires_at) "
    "VALUES (:kind, :key, :version, :value, {now} + :seconds) "
    "ON CONFLICT (kind, key) DO UPDATE SET version = excluded.version, value = excluded.value, "
    "expires_at = excluded.expires_at"
)

_TAKE = (
    "INSERT INTO session_entries (kind, key, version, value, expires_at) "
    "VALUES (:kind, :key, 0, :value, {now} + :gap) "
    "ON CONFLICT (kind, key) DO UPDATE SET expires_at = :gap + "
    "CASE WHEN session_entries.expires_at > {now} THEN session_entries.expires_at ELSE {now} END "
    "WHERE session_entries.expires_at <= {now} + :room"
)


class EmbeddedSessions:
    """A `SessionStore` in the service's database."""

    def __init__(self, database: Database, *, alone: bool) -> None:
        """alone: no other process takes from the same buckets."""
        self._database = database
        self._buckets = Buckets() if alone else None
        now = NOW[database.name]
        value = sa.bindparam("value", type_=SealedBytes())
        self._put = sa.text(_ROW.format(now=now)).bindparams(value)
        # In place of an entry that has passed its end, and of no other.
        self._add = sa.text(f"{_ROW} WHERE session_entries.expires_at <= {{now}}".format(now=now)).bindparams(
            value
        )
        self._take = sa.text(_TAKE.format(now=now))
        self._now = sa.literal_column(now, sa.Double)

    def put(self, kind: str, key: str, value: bytes, *, seconds: float) -> None:
        """See `SessionStore.put`."""
        check_size(value)
        with self._writing() as connection:
            connection.execute(self._put, _row(kind, key, value, seconds))

    def get(self, kind: str, key: str) -> bytes | None:
        """See `SessionStore.get`."""
        found = self._find(kind, key)
        return None if found is None else found[1]

    def change(self, kind: str, key: str, decide: Callable[[bytes | None], Change]) -> bytes | None:
        """See `SessionStore.change`."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            found = self._find(kind, key)
            decided = decide(None if found is None else found[1])
            if decided.value is not None:
                check_size(decided.value)
            with self._writing() as connection:
                if self._changed(connection, kind, key, None if found is None else found[0], decided):
                    return decided.value
            time.sleep(random.uniform(0, 0.005))  # noqa: S311  (so that those who meet do not meet again)
        raise SessionStoreUnavailable

    def delete(self, kind: str, key: str) -> bool:
        """See `SessionStore.delete`."""
        gone = _entries.delete().where(*_named(kind, key)).returning(_entries.c.expires_at > self._now)
        with self._writing() as connection:
            return bool(connection.scalar(gone))

    def delete_kind(self, kind: str) -> None:
        """See `SessionStore.delete_kind`."""
        with self._writing() as connection:
            connection.execute(_entries.delete().where(_entries.c.kind == kind))

    def take(self, bucket: str, *, per_second: float, burst: int) -> float:
        """See `SessionStore.take`."""
        if self._buckets is not None:
            return self._buckets.take(bucket, per_second=per_second, burst=burst)
        rate = rate_of(per_second, burst)

        def work(connection: Connection) -> float:
            if connection.dialect.name == "postgresql":
                # A crash of the server may give some tokens back; nobody waits for its disk.
                connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
            parameters = {"kind": RATES, "key": bucket, "value": b"", "gap": rate.gap}
            taken = connection.execute(self._take, {**parameters, "room": rate.room + TOLERANCE})
            if taken.rowcount == 1:
                return 0.0
            lacks = sa.select(_entries.c.expires_at - self._now).where(*_named(RATES, bucket))
            return max(float(connection.scalar(lacks) or 0.0) - rate.room, TOLERANCE)

        with _meant():
            return self._database.write_together(work, lane=-1 - zlib.crc32(bucket.encode()))

    def ping(self) -> None:
        """See `SessionStore.ping`."""
        with _meant(), self._database.read() as connection:
            database_time(connection)

    def close(self) -> None:
        """Nothing is open but the database, which is not this store's."""

    def _find(self, kind: str, key: str) -> tuple[int, bytes] | None:
        """Version and value of an entry that has not passed its end."""
        found = sa.select(_entries.c.version, _entries.c.value).where(
            *_named(kind, key), _entries.c.expires_at > self._now
        )
        with _meant(), self._database.read() as connection:
            row = connection.execute(found).one_or_none()
        return None if row is None else (row.version, row.value)

    def _changed(
        self, connection: Connection, kind: str, key: str, version: int | None, decided: Change
    ) -> bool:
        """Write what was decided of the entry of that version (None: of none); False where it is another."""
        if version is None:
            if decided.value is None:
                return True
            row = _row(kind, key, decided.value, decided.seconds)
            return connection.execute(self._add, row).rowcount == 1
        same = (*_named(kind, key), _entries.c.version == version)
        if decided.value is None:
            return connection.execute(_entries.delete().where(*same)).rowcount == 1
        written = {
            "version": _new_version(),
            "value": decided.value,
            "expires_at": self._now + decided.seconds,
        }
        return connection.execute(_entries.update().where(*same).values(written)).rowcount == 1

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with _meant(), self._database.write() as connection:
            yield connection


def remove_expired(connection: Connection) -> int:
    """Remove the entries that have passed their end, and the buckets that are full; how many there were."""
    past = _entries.c.expires_at <= database_time(connection)
    return connection.execute(_entries.delete().where(past)).rowcount


@contextmanager
def _meant() -> Iterator[None]:
    """Raise SessionStoreUnavailable where the database does not do what is asked."""
    try:
        yield
    except StorageError as error:
        raise SessionStoreUnavailable from error


def _named(kind: str, key: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return _entries.c.kind == kind, _entries.c.key == key


def _row(kind: str, key: str, value: bytes, seconds: float) -> dict[str, object]:
    return {"kind": kind, "key": key, "version": _new_version(), "value": value, "seconds": seconds}


def _new_version() -> int:
    """A number that no entry had before, an entry removed in the meantime included."""
    return secrets.randbits(62)
