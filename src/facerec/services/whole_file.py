"""Files that appear under their name when they are whole, and not before."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from facerec.errors import Conflict, StorageError

PART = ".part"
"""What the name of an unfinished file ends with."""


@contextlib.contextmanager
def growing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place `path`, durably, when the block ends: until then it grows beside it.

    It is for its owner alone to read, and nobody else can write it meanwhile. After an error it stays, and
    the next one who asks gets it as it was left. Raises Conflict while another process writes it, and turns
    errors of the disk into StorageError.
    """
    part = path.with_name(path.name + PART)
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        with os.fdopen(descriptor, "r+b") as stream:
            _keep_from_others(stream, part)
            yield stream
            stream.flush()
            os.fsync(descriptor)
            os.replace(part, path)
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}. What was there before is as it was."
        ) from error


def in_use(part: Path) -> bool:
    """Whether a process is writing that unfinished file."""
    try:
        with part.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _keep_from_others(stream: BinaryIO, part: Path) -> None:
    """Lock the file until it is closed. Raises Conflict while another one has it, or has just finished it."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = os.path.samestat(os.fstat(stream.fileno()), part.stat())
    except (BlockingIOError, FileNotFoundError):
        ours = False
    if not ours:
        raise Conflict(f"Another process is writing {part}.")
