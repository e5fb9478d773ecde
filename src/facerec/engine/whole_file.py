"""Writes files whose names never stand for half of them, whatever happens."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def put_file(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Put a file in place at once and whole, durably.

    A process that is killed on the way leaves a file beside it whose name begins with a dot and the name.
    Raises OSError.
    """
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
            os.fchmod(stream.fileno(), mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
