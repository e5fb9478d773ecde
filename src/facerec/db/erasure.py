"""Getting deleted rows out of a database's files, where a commit alone leaves them.

SQLite: a deleted row is overwritten in its page (`secure_delete`), but the write-ahead log holds the page as
it was until the log is folded into the file and cut off. PostgreSQL: a deleted row stays in its page until a
vacuum, and its bytes until the table is rewritten.
"""

from __future__ import annotations

import time
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from facerec.db import Database
from facerec.errors import StorageError

FOLD_SECONDS = 10.0
"""How long readers of older snapshots are waited for."""


def files_of(database: Database) -> list[Path]:
    """The files of a SQLite database that are there; none of a server's, which lie elsewhere."""
    if database.name != "sqlite" or database.url.database is None:
        return []
    path = Path(database.url.database)
    return [each for each in (path, Path(f"{path}-wal"), Path(f"{path}-shm")) if each.exists()]


def let_go(database: Database) -> bool:
    """Get deleted rows out of the log (SQLite), or out of reach of every query (PostgreSQL: VACUUM).

    False where readers of an older state kept it from being done wholly. Raises StorageError.
    """
    if database.name != "sqlite":
        _run(database, "VACUUM faces", "VACUUM users", "VACUUM client_tokens")
        return True
    deadline = time.monotonic() + FOLD_SECONDS
    while True:
        ((busy, *_),) = _run(database, "PRAGMA wal_checkpoint(TRUNCATE)")
        if not busy:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)


def rewrite(database: Database) -> bool:
    """Write the database (SQLite) or its tables of faces (PostgreSQL) anew, without what was deleted.

    Writers wait meanwhile, on PostgreSQL readers too. False as with `let_go`. Raises StorageError.
    """
    if database.name != "sqlite":
        _run(database, "VACUUM (FULL) faces", "VACUUM (FULL) users", "VACUUM (FULL) client_tokens")
        return True
    _run(database, "VACUUM")
    return let_go(database)


def _run(database: Database, *statements: str) -> list[tuple[int, ...]]:
    """Run statements, each outside of a transaction; the rows of the last one."""
    engine = sa.create_engine(database.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    rows: list[tuple[int, ...]] = []
    try:
        with engine.connect() as connection:
            for statement in statements:
                result = connection.execute(sa.text(statement))
                rows = [tuple(row) for row in result] if result.returns_rows else []
    except SQLAlchemyError as error:
        raise StorageError(
            f"The database could not clean its files ({statements[0]}): {type(error).__name__}. "
            "What was deleted stays deleted."
        ) from error
    finally:
        engine.dispose()
    return rows
