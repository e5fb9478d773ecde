"""The truth: collections, faces, users, tags, keys and the change sequence in a relational database."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from facerec.config import Settings
from facerec.db import Database
from facerec.errors import StorageError
from facerec.metastore import meta
from facerec.metastore.migrations import upgrade

__all__ = ["open_at", "open_metastore"]


def open_metastore(settings: Settings) -> Database:
    """Open the database of `settings`, made or migrated to the newest tables where needed.

    Raises ConfigurationError when the driver of PostgreSQL is not installed or DATABASE_URL is of no database
    we know; StorageError when the folder cannot be made, or the database not be opened or migrated.
    """
    if settings.database_url is None:
        return open_at(settings.data_dir)
    return _prepared(Database(settings.database_url, connections=settings.database_pool))


def open_at(folder: Path) -> Database:
    """Open the SQLite database of a data folder, made or migrated to the newest tables where needed."""
    path = folder.absolute() / "facerec.db"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # For its owner alone: it holds biometric data. SQLite's own files beside it take over the mode.
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise StorageError(f"The database {path} cannot be made: {error.strerror}.") from error
    return _prepared(Database(sa.URL.create("sqlite", database=str(path))))


def _prepared(database: Database) -> Database:
    """The database with the newest tables, its identity and its secret; closed when that fails."""
    try:
        upgrade(database)
        with database.write() as connection:
            meta.ensure(connection)
    except BaseException:
        database.close()
        raise
    return database
