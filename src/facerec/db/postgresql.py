"""PostgreSQL: pooled connections that survive a restart of the server, and bounds on every wait.

Reads are snapshots (REPEATABLE READ, READ ONLY). Writes are READ COMMITTED: they lock the row of their
collection first, and each statement after it sees what the holder before committed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from facerec.errors import DatabaseBusy, DatabaseUnavailable, DiskFull, StorageError

T = TypeVar("T")

CONNECT_SECONDS = 5
"""How long a new connection may take."""

STATEMENT_SECONDS = 60
"""How long a statement may take, but for those of a sweep."""

IDLE_SECONDS = 120
"""How long a transaction may lie idle: one of a process that hangs gives its locks back then."""

DEAD_SECONDS = 15
"""After which a connection whose other end is silent counts as lost."""

_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_SWEEP = "; SET LOCAL statement_timeout = 0"

_LOST = frozenset(
    {
        "25006",  # read-only: what was the primary is a standby now
        "53300",  # more connections than the server allows
        "57P01",  # the server shuts down
        "57P02",  # the server restarts after a crash
        "57P03",  # the server starts
        "57P05",  # the transaction lay idle for too long
    }
)
_WAITED = frozenset(
    {
        "55P03",  # a lock that was not given up in time
        "57014",  # a statement that took too long
    }
)
_FULL = "53100"
_VICTIM = frozenset(
    {
        "40001",  # serialization failure
        "40P01",  # deadlock
    }
)


class Postgresql:
    """How PostgreSQL is opened, its transactions begun and its errors told: a `facerec.db.Backend`."""

    errors: tuple[type[Exception], ...] = (psycopg.Error,)
    shared_lane = False

    def __init__(self, connections: int, *, by_transaction: bool) -> None:
        """connections: most open at once. by_transaction: each transaction may have another of the server."""
        self._connections = connections
        self._by_transaction = by_transaction
        self._bounds = ""
        """What bounds the waits of a transaction, where the connection has no bounds of its own."""

    def open(self, url: sa.URL, *, patience: float) -> sa.Engine:
        """An engine whose pool keeps what it opened; nothing is connected yet."""
        bounds = {
            "statement_timeout": STATEMENT_SECONDS,
            "lock_timeout": patience,
            "idle_in_transaction_session_timeout": IDLE_SECONDS,
        }
        milliseconds = {name: int(seconds * 1000) for name, seconds in bounds.items()}
        own: dict[str, Any] = {}
        if self._by_transaction:
            self._bounds = "".join(f"; SET LOCAL {name} = {value}" for name, value in milliseconds.items())
            # The next transaction has another connection of the server, where nothing was prepared.
            own["prepare_threshold"] = None
        else:
            options = url.query.get("options", ())
            url = url.difference_update_query(["options"])
            own["options"] = " ".join(
                [
                    *([options] if isinstance(options, str) else options),
                    *(f"-c {name}={value}" for name, value in milliseconds.items()),
                ]
            )
        return sa.create_engine(
            url,
            pool_size=self._connections,
            max_overflow=0,
            pool_timeout=patience,
            # The one used last, so that what a burst opened is not all kept warm.
            pool_use_lifo=True,
            connect_args={
                "autocommit": True,  # transactions are begun here, not by the driver
                "connect_timeout": CONNECT_SECONDS,
                "keepalives_idle": DEAD_SECONDS // 3,
                "keepalives_interval": DEAD_SECONDS // 3,
                "keepalives_count": 2,
                "tcp_user_timeout": DEAD_SECONDS * 1000,
                "fallback_application_name": "facerec",
                **own,
            },
            hide_parameters=True,  # they are faces and their names, and errors are logged
        )

    def look(self, engine: sa.Engine, work: Callable[[sa.Connection], T]) -> T:
        """A statement by itself. A connection that was lost while it lay idle is replaced unnoticed."""
        if self._by_transaction:  # which bounds its time
            with self.reading(engine) as connection:
                return work(connection)
        for _ in range(self._connections):
            with engine.connect() as connection:
                driver = _driver(connection)
                try:
                    return work(connection)
                except (psycopg.OperationalError, sa.exc.OperationalError) as error:
                    if not driver.closed:
                        raise
                    connection.invalidate(error)
        raise _every_connection_ended()

    @contextlib.contextmanager
    def reading(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        """A snapshot."""
        with self._begun(engine, _READ + self._bounds) as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self, engine: sa.Engine, *, sweep: bool) -> Iterator[sa.Connection]:
        """A transaction; nobody is kept from anything yet."""
        statement = _WRITE + self._bounds + (_SWEEP if sweep else "")
        with self._begun(engine, statement) as connection, connection.begin():
            yield connection

    def stream(
        self, connection: sa.Connection, statement: sa.Select[Any], parameters: Mapping[str, int], size: int
    ) -> Iterator[Sequence[tuple[Any, ...]]]:
        """By a cursor of the server, in binary: twice as fast as text, and as fast as SQLite."""
        compiled = statement.compile(dialect=connection.dialect)
        with _driver(connection).cursor("stream", binary=True) as cursor:
            cursor.execute(str(compiled).encode(), compiled.construct_params(parameters))
            while rows := cursor.fetchmany(size):
                yield rows

    def meaning(self, cause: BaseException, purpose: str, *, committing: bool) -> StorageError:
        """What passes is told apart: the server is gone (and comes back), others were in the way, no room."""
        if isinstance(cause, NoConnectionFree):
            return DatabaseBusy(
                f"The database could not {purpose}: all {self._connections} connections "
                "(FACEREC_DATABASE_POOL) are in use. Nothing was changed."
            )
        state = getattr(cause, "sqlstate", None)
        told = type(cause).__name__ if self.quotes_values(cause) else _told(cause)
        text = f"The database could not {purpose}: {told}."
        # Without a state it is the driver that speaks: it could not connect, or lost the connection.
        silent = state is None and isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)
        if silent or state in _LOST or str(state).startswith("08"):
            outcome = "Whether the change was kept is not known." if committing else "Nothing was changed."
            return DatabaseUnavailable(f"{text} {outcome}")
        if state == _FULL:
            return DiskFull(f"{text} Nothing was changed.")
        return (DatabaseBusy if state in _WAITED | _VICTIM else StorageError)(f"{text} Nothing was changed.")

    def fell_victim(self, cause: BaseException) -> bool:
        """Whether the server undid the transaction so that another one could go on."""
        return getattr(cause, "sqlstate", None) in _VICTIM

    def quotes_values(self, cause: BaseException) -> bool:
        """Data exceptions and broken constraints do."""
        return str(getattr(cause, "sqlstate", None)).startswith(("22", "23"))

    @contextlib.contextmanager
    def _begun(self, engine: sa.Engine, statement: str) -> Iterator[sa.Connection]:
        """A connection in a transaction. One that was lost while it lay in the pool is replaced unnoticed."""
        for _ in range(self._connections):
            with engine.connect() as connection:
                driver = _driver(connection)
                try:
                    driver.execute(statement, prepare=False)  # to begin takes longer prepared
                except psycopg.OperationalError as error:
                    if not driver.closed:
                        raise
                    connection.invalidate(error)
                    continue
                yield connection
                return
        raise _every_connection_ended()


def _driver(connection: sa.Connection) -> psycopg.Connection[tuple[Any, ...]]:
    """The driver's own connection: what SQLAlchemy does between takes longer, or lets go of less."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101  (narrows the type)
    return driver


def _every_connection_ended() -> DatabaseUnavailable:
    return DatabaseUnavailable("The database ends every connection. Nothing was changed.")


def _told(cause: BaseException) -> str:
    """An error of the server or the driver in a line."""
    if isinstance(cause, psycopg.Error) and cause.sqlstate is not None:
        return f"{cause.diag.message_primary} ({cause.sqlstate})"
    if isinstance(cause, psycopg.OperationalError):
        return str(cause).strip().replace("\n", " ").rstrip(".")
    return type(cause).__name__
