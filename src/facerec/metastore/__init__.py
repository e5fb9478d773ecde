"""The truth: collections, faces, users, tags, keys and the change sequence in a relational database."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from facerec.config import Settings
from facerec.db import Database
from facerec.db.sealed import ValueCipher
from facerec.errors import StorageError
from facerec.metastore import meta
from facerec.metastore.revision import NEWEST, revision_of
from facerec.metastore.sealing import agree, read_cipher

__all__ = ["open_at", "open_metastore", "open_unprepared"]


def open_metastore(settings: Settings) -> Database:
    """Open the database of `settings`, made or migrated to the newest tables where needed.

    Raises ConfigurationError when the driver of PostgreSQL is not installed or DATABASE_URL is of no database
    we know, or a key of sealed embeddings is missing; StorageError when the folder cannot be made, or the
    database not be opened or migrated.
    """
    return _prepared(open_unprepared(settings))


def open_unprepared(settings: Settings) -> Database:
    """Open the database of `settings` as it is, neither made nor migrated. Raises as `open_metastore`."""
    cipher = read_cipher(settings)
    if settings.database_url is None:
        return _sqlite_at(settings.data_dir, cipher)
    return Database(
        settings.database_url,
        connections=settings.database_pool,
        pooling=settings.database_pooling,
        cipher=cipher,
    )


def open_at(folder: Path, cipher: ValueCipher | None = None) -> Database:
    """Open the SQLite database of a data folder, made or migrated to the newest tables where needed.

    cipher: seals embeddings at rest.
    """
    return _prepared(_sqlite_at(folder, cipher))


def _sqlite_at(folder: Path, cipher: ValueCipher | None) -> Database:
    """The SQLite database of a data folder, whose file is made where there is none."""
    path = folder.absolute() / "facerec.db"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # For its owner alone: it holds biometric data. SQLite's own files beside it take over the mode.
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise StorageError(f"The database {path} cannot be made: {error.strerror}.") from error
    return Database(sa.URL.create("sqlite", database=str(path)), cipher=cipher)


def _prepared(database: Database) -> Database:
    """The database with the newest tables, its identity and its secret; closed when that fails."""
    try:
        with database.read() as connection:
            current = revision_of(connection)
        if current != NEWEST:
            # Imported here: most starts find the newest tables.
            from facerec.metastore.migrations import upgrade

            upgrade(database)
        with database.write() as connection:
            meta.ensure(connection)
            agree(connection, database.cipher)
    except BaseException:
        database.close()
        raise
    return database
