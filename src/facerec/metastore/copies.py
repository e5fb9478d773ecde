"""Copies of a SQLite database: made while others read and write, and put to use again."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from facerec.db import Database
from facerec.errors import Conflict, StorageError, UnreadableFile
from facerec.metastore import meta
from facerec.metastore.tables import leases
from facerec.metastore.tables import meta as metadata_rows

DATABASE_FILE = "facerec.db"
"""Name of the database in a data folder."""

LOG_FILES = (f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm")
"""What lies beside it while it is open, or was when its process was killed."""

_STEP_PAGES = 1024

_LOCK_BEGIN, _LOCK_BYTES = 0x40000000, 512
"""Bytes of the file that SQLite locks; whoever has a database open holds one of them for reading
(https://www.sqlite.org/fileformat2.html, "The Lock-Byte Page")."""


def copy(database: Database, target: Path, progress: Callable[[int, int], None]) -> None:
    """Copy a SQLite database into the empty file `target`, as it is at one moment, and check the copy.

    By SQLite's own way of copying; no writer waits for it. progress: told (bytes done, bytes in all). Raises
    StorageError, also where the copy is not sound, which means that the database is not.
    """
    with database.read() as connection:
        connection.execute(sa.select(metadata_rows.c.name).limit(1))  # from here on the moment stands
        source = connection.connection.driver_connection
        assert isinstance(source, sqlite3.Connection)  # noqa: S101  (narrows the type)
        (page,) = source.execute("PRAGMA page_size").fetchone()
        try:
            with closing(sqlite3.connect(target)) as written:
                source.backup(
                    written,
                    pages=_STEP_PAGES,
                    progress=lambda _status, left, pages: progress((pages - left) * page, pages * page),
                )
                # So that the copy is one file, whatever opens it.
                written.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error as error:
            raise StorageError(f"The copy {target} cannot be written: {error}.") from error
    if (problem := problem_of(target)) is not None:
        raise StorageError(f"The database {database.url.database} is damaged: {problem}.")


def problem_of(path: Path) -> str | None:
    """What SQLite finds wrong with a database that nobody has open; None where it is sound."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            (finding,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        return str(error)
    return None if finding == "ok" else str(finding)


def adopt(folder: Path) -> tuple[int, int]:
    """Make a restored database, `facerec.db` in `folder`, one of its own, with the newest tables.

    It gets a new identity, so that no index of what it was before is taken for its, and nobody holds a lease
    of it. (faces, access keys) in it. Raises UnreadableFile where it is not sound or no database of ours,
    StorageError where a newer version made it.
    """
    path = folder / DATABASE_FILE
    if (problem := problem_of(path)) is not None:
        raise UnreadableFile(f"The database in the backup is damaged: {problem}.")
    from facerec.metastore.migrations import upgrade  # imported here: few commands migrate

    # Not as a service opens it: whether its embeddings are sealed, and by which key, is no matter here.
    database = Database(sa.URL.create("sqlite", database=str(path)))
    try:
        upgrade(database)
        with database.write() as connection:
            meta.renew_store_id(connection)
            connection.execute(leases.delete())
        with database.read() as connection:
            faces = connection.scalar(sa.text("SELECT coalesce(sum(face_count), 0) FROM collections"))
            keys = connection.scalar(sa.text("SELECT count(*) FROM access_keys WHERE revoked_at IS NULL"))
    finally:
        database.close()
    return int(faces or 0), int(keys or 0)


def keep_closed(path: Path) -> int:
    """Lock a database file so that nobody can use it: the descriptor, which ends that when it is closed.

    Works for a file that is damaged, too. Raises Conflict while a process has the database open.
    """
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, _LOCK_BYTES, _LOCK_BEGIN)
    except OSError as error:
        os.close(descriptor)
        raise Conflict(f"A process has {path} open. Stop the service first.") from error
    return descriptor
