"""The relational database: connections and transactions, and nothing of what is stored.

SQLite is set up for durability first: write-ahead log, one fsync a commit (`synchronous=FULL`), `BEGIN
IMMEDIATE` for writes so that two writers wait for each other instead of failing, and snapshot reads that no
writer disturbs.
Several threads and several processes may share one file.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from facerec.errors import ConfigurationError, StorageError

T = TypeVar("T")

BUSY_TIMEOUT_SECONDS = 30.0
"""How long a writer waits for another one, of this or another process, before it gives up."""

PAGE_SIZE = 8192
"""Bytes of a page of a new SQLite file. A face of 512 dimensions costs 758 bytes with pages of 4096, 705 with
8192 and 682 with 16384; a commit writes whole pages, so the middle."""

MAX_CONNECTIONS = 64
"""Most connections open at once; a thread needs one while it reads or writes."""

CACHE_KIB, SWEEP_CACHE_KIB = 8 * 1024, 64 * 1024
"""Memory of a connection for pages: as a rule, and while it sweeps. Every connection may fill its own."""

LOG_LIMIT = 64 * 1024 * 1024
"""Bytes that the write-ahead log keeps after it has been folded into the file."""


Connection = sa.Connection
"""A transaction at work: what `Database.read` and `Database.write` give, and the metadata store takes."""


@dataclass(frozen=True, slots=True, eq=False)
class _Write(Generic[T]):
    """A change that waits to be committed with others."""

    work: Callable[[Connection], T]
    outcome: Future[T] = field(default_factory=Future)


class Database:
    """A database by SQLAlchemy URL. Safe to share between threads."""

    def __init__(
        self,
        url: str | sa.URL,
        *,
        patience: float = BUSY_TIMEOUT_SECONDS,
        connections: int = MAX_CONNECTIONS,
    ) -> None:
        """Open `url` (`sqlite:///PATH`, `postgresql://...`). Nothing is read or written before the first
        transaction.

        patience: seconds that a writer waits for another one, and a thread for a connection. connections:
        most open at once. Raises ConfigurationError where the URL is of no database that we know, or the
        driver of PostgreSQL is not installed.
        """
        self.url = _known(url)
        self._sqlite = sqlite = self.url.get_backend_name() == "sqlite"
        # SQLite's writers poll for their turn; those of one process take turns here, without a pause between.
        self._turn: threading.Lock | contextlib.nullcontext[None] = (
            threading.Lock() if sqlite else contextlib.nullcontext()
        )
        self._gathering = threading.Condition()  # of the two fields below
        self._committing = False
        self._gathered: list[_Write[Any]] = []
        self._engine = sa.create_engine(
            self.url,
            pool_size=min(8, connections),
            max_overflow=max(0, connections - 8),
            pool_timeout=patience,
            pool_pre_ping=not sqlite,
            connect_args={"timeout": patience} if sqlite else {"connect_timeout": 5},
            hide_parameters=True,  # they are faces and their names, and errors are logged
        )
        if sqlite:
            event.listen(self._engine, "connect", _set_up_sqlite)

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that sees one snapshot and changes nothing. Raises StorageError."""
        with _translated("read"), self._engine.connect() as connection:
            if self._sqlite:
                _begin_sqlite(connection, "BEGIN")
            else:
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            yield connection

    @contextlib.contextmanager
    def write(self, *, sweep: bool = False) -> Iterator[sa.Connection]:
        """A transaction that is committed, on disk, at the end of the block, or undone when the block raises.

        sweep: it touches thousands of rows all over the indexes, and gets memory to write each page once.
        Raises StorageError when the database refuses (full disk, locked for too long, read-only, I/O error);
        nothing of the block is kept then.
        """
        with (
            _translated("write"),
            self._turn,
            self._engine.connect() as connection,
            _larger_cache(connection) if sweep and self._sqlite else contextlib.nullcontext(),
            connection.begin(),
        ):
            if self._sqlite:
                _begin_sqlite(connection, "BEGIN IMMEDIATE")
            yield connection

    def write_together(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in a transaction that it may share with others that come meanwhile: one fsync for all.

        What it changed is on disk when this returns its result. When one of those who share fails, each is
        done again in a transaction of its own, so that it fails alone, with its own error: `work` changes
        nothing but the database, and may be called twice, in the thread of another caller. Raises as `write`
        does.
        """
        mine = _Write(work)
        with self._gathering:
            self._gathered.append(mine)
            self._gathering.wait_for(lambda: mine.outcome.done() or not self._committing)
            if mine.outcome.done():
                return mine.outcome.result()
            self._committing = True
            group, self._gathered = self._gathered, []
        try:
            self._commit(group)
        finally:
            with self._gathering:
                self._committing = False
                self._gathering.notify_all()
        return mine.outcome.result()

    def _commit(self, group: Sequence[_Write[Any]]) -> None:
        """Do the work of a group in one transaction; on an error, of each in one of its own."""
        try:
            with self.write() as connection:
                results = [one.work(connection) for one in group]
        except BaseException as error:  # noqa: BLE001  (whatever it is, it is raised again in every caller)
            for one in group:
                if len(group) == 1 or not isinstance(error, Exception):
                    one.outcome.set_exception(error)
                else:
                    self._commit([one])
            return
        for one, result in zip(group, results, strict=True):
            one.outcome.set_result(result)

    def close(self) -> None:
        """Close the idle connections; the last one to close a SQLite file folds its log into it."""
        self._engine.dispose()


def _known(url: str | sa.URL) -> sa.URL:
    """The URL with the driver that we use. Raises ConfigurationError, which never tells the password."""
    try:
        made = sa.make_url(url)
    except ArgumentError as error:
        raise ConfigurationError(
            "DATABASE_URL can not be read; it is written postgresql://USER:PASSWORD@HOST:PORT/NAME"
        ) from error
    scheme, _, driver = made.drivername.partition("+")
    if scheme == "sqlite":
        return made
    if scheme not in ("postgres", "postgresql") or driver not in ("", "psycopg"):
        raise ConfigurationError(
            f"DATABASE_URL begins with {made.drivername}://; it takes postgresql:// (SQLite needs no URL: "
            "its file lies in FACEREC_DATA_DIR)"
        )
    if importlib.util.find_spec("psycopg") is None:
        raise ConfigurationError(
            "DATABASE_URL needs the driver of PostgreSQL: pip install 'facerec[postgres]'"
        )
    return made.set(drivername="postgresql+psycopg")


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


@contextlib.contextmanager
def _translated(purpose: str) -> Iterator[None]:
    """Turn the database's errors into StorageError, without a statement's values: they may be biometric."""
    try:
        yield
    except DBAPIError as error:
        raise StorageError(f"The database could not {purpose}: {error.orig}. Nothing was changed.") from error
    except sqlite3.Error as error:  # raised bare while a connection is set up or its own cursor is read
        raise StorageError(f"The database could not {purpose}: {error}. Nothing was changed.") from error
    except SQLAlchemyError as error:
        raise StorageError(
            f"The database could not {purpose}: {type(error).__name__}. Nothing was changed."
        ) from error


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """Prepare a new connection. The page size acts on a new file alone."""
    # The driver's own BEGIN comes late and is never IMMEDIATE: transactions are begun by _begin_sqlite.
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


def _begin_sqlite(connection: sa.Connection, statement: str) -> None:
    """Begin: a writer takes the write lock at once, so it never fails half-way for a lock it did not get.

    By the driver itself: through SQLAlchemy, or a listener to its events, every request takes longer.
    """
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101  (narrows the type)
    driver.execute(statement)
