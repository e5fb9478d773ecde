"""SQLite, set up for durability first: write-ahead log, one fsync a commit (`synchronous=FULL`), `BEGIN
IMMEDIATE` for writes so that two writers wait for each other instead of failing, and snapshot reads that no
writer disturbs. Several threads and several processes may share one file.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event

from facerec.db.disk import ask_to_write
from facerec.errors import DatabaseBusy, DiskFull, DiskReadOnly, StorageError

T = TypeVar("T")

PAGE_SIZE = 8192
"""Bytes of a page of a new file. A face of 512 dimensions costs 758 bytes with pages of 4096, 705 with 8192
and 682 with 16384; a commit writes whole pages, so the middle."""

CONNECTIONS, KEPT_CONNECTIONS = 64, 8
"""Most connections open at once, and of them those that stay open; a thread needs one while it reads or
writes."""

CACHE_KIB, SWEEP_CACHE_KIB = 8 * 1024, 64 * 1024
"""Memory of a connection for pages: as a rule, and while it sweeps. Every connection may fill its own."""

LOG_LIMIT = 64 * 1024 * 1024
"""Bytes that the write-ahead log keeps after it has been folded into the file."""

_MEANINGS: Mapping[int, type[StorageError]] = {
    sqlite3.SQLITE_BUSY: DatabaseBusy,
    sqlite3.SQLITE_FULL: DiskFull,
    sqlite3.SQLITE_READONLY: DiskReadOnly,
}


class Sqlite:
    """How a SQLite file is opened, its transactions begun and its errors told: a `facerec.db.Backend`."""

    errors: tuple[type[Exception], ...] = (sqlite3.Error,)
    shared_lane = True

    def __init__(self) -> None:
        # Writers poll for their turn; those of one process take turns here, without a pause between.
        self._turn = threading.Lock()
        self._folder = Path()

    def open(self, url: sa.URL, *, patience: float) -> sa.Engine:
        """An engine whose every connection is set up for durability."""
        self._folder = Path(url.database or "").parent
        engine = sa.create_engine(
            url,
            pool_size=KEPT_CONNECTIONS,
            max_overflow=CONNECTIONS - KEPT_CONNECTIONS,
            pool_timeout=patience,
            connect_args={"timeout": patience},
            hide_parameters=True,  # they are faces and their names, and errors are logged
        )
        event.listen(engine, "connect", _set_up)
        return engine

    def look(self, engine: sa.Engine, work: Callable[[sa.Connection], T]) -> T:
        """A statement outside of a transaction is one by itself."""
        with engine.connect() as connection:
            return work(connection)

    @contextlib.contextmanager
    def reading(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        """A snapshot."""
        with engine.connect() as connection:
            _begin(connection, "BEGIN")
            yield connection

    @contextlib.contextmanager
    def writing(self, engine: sa.Engine, *, sweep: bool) -> Iterator[sa.Connection]:
        """A transaction with the lock of the only writer."""
        with (
            self._turn,
            engine.connect() as connection,
            _larger_cache(connection) if sweep else contextlib.nullcontext(),
            connection.begin(),
        ):
            _begin(connection, "BEGIN IMMEDIATE")
            yield connection

    def stream(
        self, connection: sa.Connection, statement: sa.Select[Any], parameters: Mapping[str, int], size: int
    ) -> Iterator[Sequence[tuple[Any, ...]]]:
        """By the cursor of the statement: SQLite finds a row when it is asked for."""
        result = connection.execute(statement, parameters)
        while rows := result.cursor.fetchmany(size):
            yield rows
        result.close()

    def meaning(self, cause: BaseException, purpose: str, *, committing: bool) -> StorageError:
        """A lock that another process keeps passes, and so does a disk that is full or read-only; anything
        else does not.
        """
        told = cause if isinstance(cause, sqlite3.Error) else type(cause).__name__
        text = f"The database could not {purpose}: {told}. Nothing was changed."
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF  # without the part that tells the kind of lock
        kind = _MEANINGS.get(code, StorageError)
        if code in (
            sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_CANTOPEN,
        ):  # which of the system's errors it was, is lost
            try:
                ask_to_write(self._folder)
            except StorageError as refusal:
                kind = type(refusal)
        return kind(text)

    def fell_victim(self, cause: BaseException) -> bool:
        """Never: there is one writer at a time."""
        return False

    def quotes_values(self, cause: BaseException) -> bool:
        """Never: SQLite names columns alone."""
        return False


@contextlib.contextmanager
def _larger_cache(connection: sa.Connection) -> Iterator[None]:
    """SWEEP_CACHE_KIB for a connection that is in no transaction yet, and CACHE_KIB again after it."""
    cursor = connection.connection.cursor()  # the driver's own: SQLAlchemy would begin a transaction
    cursor.execute(f"PRAGMA cache_size = -{SWEEP_CACHE_KIB}")
    try:
        yield
    finally:
        cursor.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        cursor.close()


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    """Prepare a new connection. The page size acts on a new file alone."""
    # The driver's own BEGIN comes late and is never IMMEDIATE: transactions are begun by _begin.
    connection.isolation_level = None
    for pragma in (
        f"page_size = {PAGE_SIZE}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        # Deleted faces are biometric data: their bytes are overwritten, not merely unlinked.
        "secure_delete = ON",
        f"cache_size = -{CACHE_KIB}",
        "temp_store = MEMORY",
        # After a large deletion the log shrinks again.
        f"journal_size_limit = {LOG_LIMIT}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: sa.Connection, statement: str) -> None:
    """Begin: a writer takes the write lock at once, so it never fails half-way for a lock it did not get.

    By the driver itself: through SQLAlchemy, or a listener to its events, every request takes longer.
    """
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101  (narrows the type)
    driver.execute(statement)
