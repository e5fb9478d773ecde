"""The relational database: connections and transactions, and nothing of what is stored.

`Database` is SQLite or PostgreSQL by its URL; each has a file of its own here for what it does its own way.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from facerec.db.sealed import ValueCipher, set_cipher
from facerec.db.sqlite import Sqlite
from facerec.db.together import Together
from facerec.errors import ConfigurationError, DiskReadOnly, StorageError
from facerec.observability import metrics
from facerec.observability.steps import Step

T = TypeVar("T")

PATIENCE_SECONDS = 30.0
"""How long a writer waits for another one, of this or another process, and a thread for a connection."""

CONNECTIONS = 20
"""Most connections to PostgreSQL open at once."""

_READ, _WRITE = (
    Step(f"database.{kind}", metrics.database_seconds.labels(kind)) for kind in ("read", "write")
)

Connection = sa.Connection
"""A transaction at work: what `Database.read` and `Database.write` give, and the metadata store takes."""


class Backend(Protocol):
    """What a kind of database does its own way."""

    errors: tuple[type[Exception], ...]
    """What its driver raises where SQLAlchemy is not between."""

    shared_lane: bool
    """Whether writes to different collections take turns, and therefore best share their commits."""

    def open(self, url: sa.URL, *, patience: float) -> sa.Engine:
        """The connections to come."""

    def look(self, engine: sa.Engine, work: Callable[[Connection], T]) -> T:
        """What `work` reads by one statement, without a transaction around it; `work` may be called again."""

    def reading(self, engine: sa.Engine) -> AbstractContextManager[Connection]:
        """A transaction that sees one snapshot and changes nothing."""

    def writing(self, engine: sa.Engine, *, sweep: bool) -> AbstractContextManager[Connection]:
        """A transaction that is committed at the end of the block, or undone when the block raises."""

    def stream(
        self, connection: Connection, statement: sa.Select[Any], parameters: Mapping[str, int], size: int
    ) -> Iterator[Sequence[tuple[Any, ...]]]:
        """The rows of a statement, up to `size` at a time, as the driver has them."""

    def meaning(self, cause: BaseException, purpose: str, *, committing: bool) -> StorageError:
        """The error to raise for one of the driver, or of SQLAlchemy; without a statement's values.

        committing: it was raised after the block, so that the commit may have come through.
        """

    def fell_victim(self, cause: BaseException) -> bool:
        """Whether the database undid a transaction for another one's sake: done again it would pass."""

    def quotes_values(self, cause: BaseException) -> bool:
        """Whether the driver's own text holds values of the statement, which no log may show."""


class Database:
    """A database by SQLAlchemy URL. Safe to share between threads."""

    def __init__(
        self,
        url: str | sa.URL,
        *,
        patience: float = PATIENCE_SECONDS,
        connections: int = CONNECTIONS,
        pooling: Literal["session", "transaction"] = "session",
        cipher: ValueCipher | None = None,
    ) -> None:
        """Open `url` (`sqlite:///PATH`, `postgresql://USER:PASSWORD@HOST:PORT/NAME`).

        Nothing is read or written before the first transaction. patience: seconds that a writer waits for
        another one, and a thread for a connection. connections: most open at once to PostgreSQL. pooling:
        transaction, where the URL is of a pooler as PgBouncer that gives a connection of the server for one
        transaction. cipher: seals the columns that are of the type `SealedBytes`. Raises ConfigurationError
        where the URL is of no database that we know, or its driver is not installed.
        """
        self.url = _known(url)
        self._backend = _backend(self.url, connections, by_transaction=pooling == "transaction")
        self._errors: tuple[type[Exception], ...] = (SQLAlchemyError, *self._backend.errors)
        self._engine = self._backend.open(self.url, patience=patience)
        self.cipher = cipher
        set_cipher(self._engine, cipher)
        self._together = Together(self.write, self._fell_victim)

    @property
    def name(self) -> str:
        """Which kind it is: sqlite or postgresql."""
        return self.url.get_backend_name()

    def look(self, work: Callable[[Connection], T]) -> T:
        """What `work` reads by one statement, which is a snapshot by itself. Raises as `read` does.

        No transaction is begun and ended for it: on PostgreSQL each of these takes as long as the statement.
        `work` is called again where its connection was lost while it lay idle.
        """
        try:
            with _READ():
                return self._backend.look(self._engine, work)
        except self._errors as error:
            metrics.database_errors.labels("read").inc()
            raise self._meaning(error, "read") from self._shown(error)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one snapshot and changes nothing. Raises StorageError and its kinds."""
        try:
            with _READ(), self._backend.reading(self._engine) as connection:
                yield connection
        except self._errors as error:
            metrics.database_errors.labels("read").inc()
            raise self._meaning(error, "read") from self._shown(error)

    @contextlib.contextmanager
    def write(self, *, sweep: bool = False) -> Iterator[Connection]:
        """A transaction that is committed, on disk, at the end of the block, or undone when the block raises.

        sweep: it touches thousands of rows all over the indexes, and gets the memory and time for it.
        Raises StorageError when the database refuses (full disk, read-only, I/O error), DatabaseBusy when
        others were in the way for too long, DatabaseUnavailable when the server is gone. Nothing of the block
        is kept then, but where the connection was lost while it was being committed: that is not known, and
        the error says so.
        """
        committing = False
        try:
            with _WRITE(), self._backend.writing(self._engine, sweep=sweep) as connection:
                yield connection
                committing = True
        except self._errors as error:
            metrics.database_errors.labels("write").inc()
            meaning = self._meaning(error, "write", committing=committing)
            if isinstance(meaning, DiskReadOnly):
                self._engine.dispose()  # what was opened on such a disk never writes, and is kept no longer
            raise meaning from self._shown(error)

    def write_together(self, work: Callable[[Connection], T], *, lane: int | None = None) -> T:
        """Do `work` in a transaction that it may share with others that come meanwhile: one fsync for all.

        lane: key of the collection that `work` locks. On PostgreSQL the writes of a collection share, and
        collections do not wait for each other; SQLite has one writer, so there all share.

        What it changed is on disk when this returns its result. When one of those who share fails, or the
        database undid them for another transaction's sake, each is done again in a transaction of its own, so
        that it fails alone, with its own error: `work` changes nothing but the database, and may be called
        several times, in the thread of another caller. Raises as `write` does.
        """
        return self._together.do(work, None if self._backend.shared_lane else lane)

    def announced(self) -> AbstractContextManager[None]:
        """A block in which this thread calls `write_together`, once, and nobody waits for it.

        That write may wait a moment for those of other such blocks, to share their commit; it holds up no
        other.
        """
        return self._together.announced()

    def stream(
        self,
        connection: Connection,
        statement: sa.Select[Any],
        parameters: Mapping[str, int],
        *,
        size: int,
    ) -> Iterator[Sequence[tuple[Any, ...]]]:
        """The rows of a statement in lists of up to `size`: no more than one of them is in memory.

        connection: of this database. The rows are the driver's own, for a million of SQLAlchemy's take
        seconds more: what a column's type makes of its values is left to the caller.
        """
        return self._backend.stream(connection, statement, parameters, size)

    def close(self) -> None:
        """Close the idle connections; the last one to close a SQLite file folds its log into it."""
        self._engine.dispose()

    def _meaning(self, error: Exception, purpose: str, *, committing: bool = False) -> StorageError:
        return self._backend.meaning(_origin(error), purpose, committing=committing)

    def _shown(self, error: Exception) -> Exception | None:
        """The error where a log may show it."""
        return None if self._backend.quotes_values(_origin(error)) else error

    def _fell_victim(self, error: StorageError) -> bool:
        return error.__cause__ is not None and self._backend.fell_victim(_origin(error.__cause__))


def _origin(error: BaseException) -> BaseException:
    """The driver's error where SQLAlchemy has wrapped it."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


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
    return made.set(drivername="postgresql+psycopg")


def _backend(url: sa.URL, connections: int, *, by_transaction: bool) -> Backend:
    """What the URL's kind of database does its own way."""
    if url.get_backend_name() == "sqlite":
        return Sqlite()
    if importlib.util.find_spec("psycopg") is None:
        raise ConfigurationError(
            "DATABASE_URL needs the driver of PostgreSQL: pip install 'facerec[postgres]'"
        )
    # Imported here: it loads the driver, which not everyone has.
    from facerec.db.postgresql import Postgresql

    return Postgresql(connections, by_transaction=by_transaction)
