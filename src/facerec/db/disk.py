"""What a disk says to whoever would write on it: that it is full, or read-only."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

from facerec.errors import DiskFull, DiskReadOnly, StorageError

REFUSALS: dict[int, type[StorageError]] = {
    errno.ENOSPC: DiskFull,
    errno.EDQUOT: DiskFull,
    errno.EROFS: DiskReadOnly,
}
"""What the errors of the operating system mean that pass once somebody has seen to the disk."""


def ask_to_write(folder: Path) -> None:
    """Begin a file without a name in a folder: neither its permissions nor its mount tell of every refusal.

    Raises DiskFull, DiskReadOnly, and StorageError where the folder takes no file for another reason.
    """
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        kind = REFUSALS.get(error.errno or 0, StorageError)
        raise kind(f"The folder {folder} takes no file: {error.strerror}") from error
