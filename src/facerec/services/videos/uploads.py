"""Videos that are sent with a request: kept in the data folder until they were looked at, and no longer.

A job needs its video after the request has been answered, so an upload lies in a file of the machine that
took it; its job is done there alone. All processes on one data folder are one machine.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Container
from pathlib import Path

from facerec.domain import LocalImage, VideoReference

NODE = "node"
"""File with the machine's name."""

SUFFIX = ".video"

LEFT_OVER_SECONDS = 3600.0
"""Age from which a file that belongs to no job was left over by a process that was killed."""


def node_of(folder: Path) -> str:
    """The name of this machine, which no other has; made where it has none."""
    path = folder / NODE
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with path.open("x") as file:
            file.write(secrets.token_hex(16))
    except FileExistsError:
        pass
    return path.read_text()


def new_upload(folder: Path) -> Path:
    """Where the next upload is written."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"{secrets.token_hex(16)}{SUFFIX}"


def remove_upload(folder: Path, video: VideoReference) -> None:
    """Remove the file of an upload; any other video, and one that is gone already, is left alone."""
    if isinstance(video, LocalImage) and video.path.parent == folder and video.path.suffix == SUFFIX:
        video.path.unlink(missing_ok=True)


def remove_left_over(folder: Path, wanted: Container[Path]) -> int:
    """Remove old files of uploads that no job wants; how many there were."""
    old = time.time() - LEFT_OVER_SECONDS
    stale = [path for path in folder.glob(f"*{SUFFIX}") if path not in wanted and path.stat().st_mtime < old]
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)
