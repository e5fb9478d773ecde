"""Folders of pictures: which files they are, and the external ids that stand for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TypeVar

from facerec.errors import NotFound
from facerec.images.base import SUFFIXES
from facerec.services.external_ids import readable_id

T = TypeVar("T")
R = TypeVar("R")


class ExternalIds(StrEnum):
    """What a picture's external image id is made of."""

    PATH = "path"
    NAME = "name"
    NONE = "none"


def pictures_in(folder: Path) -> list[Path]:
    """Picture files of a folder and the folders in it, in order of their paths; hidden ones are left out.

    Links to folders are not followed, so that the walk ends. Raises NotFound for what is no folder.
    """
    if not folder.is_dir():
        raise NotFound(f"{folder} is no folder")
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(place, name)
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
        ]
    return sorted(found)


def external_id(relative: PurePosixPath, kind: ExternalIds) -> str | None:
    """The external image id of a picture, from its path relative to the indexed folder."""
    if kind is ExternalIds.NONE:
        return None
    return readable_id(relative.name if kind is ExternalIds.NAME else str(relative))


@contextmanager
def at_once(
    work: Callable[[T], R], items: Iterable[T], workers: int
) -> Iterator[Iterator[tuple[T, Future[R]]]]:
    """Do `work` on the items in `workers` threads; gives (item, finished future) as they finish.

    No more than twice as many items as threads are under way, so that a long list costs no memory. On leaving
    early (an error, an interrupt) no further item is begun, and those under way are waited for.
    """
    with ThreadPoolExecutor(workers) as pool:
        try:
            yield _finished(pool, work, items, 2 * workers)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _finished(
    pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], most: int
) -> Iterator[tuple[T, Future[R]]]:
    """Submit the items, at most `most` under way, and give each with its future as it finishes."""
    running: dict[Future[R], T] = {}
    for item in items:
        running[pool.submit(work, item)] = item
        if len(running) >= most:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future
    while running:
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), future
