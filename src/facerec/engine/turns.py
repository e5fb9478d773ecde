"""Whose turn it is at an engine: no more threads at work than it has workers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from facerec.observability import current_request, metrics
from facerec.observability.steps import Step

WAIT_FOR_PROCESSOR = Step("engine.wait_processor", metrics.wait_seconds.labels("processor"))


class Turns:
    """Places for the workers of an engine. Safe to use from many threads."""

    def __init__(self, workers: int) -> None:
        """workers: most threads at work at a time."""
        self._places = threading.BoundedSemaphore(workers)
        self._own = _Own()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """The place that the block's first step waits for is kept until the block ends."""
        self._own.kept = True
        try:
            yield
        finally:
            self._own.kept = False
            self.leave()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Wait for a place, where this thread has kept none. Raises Cancelled when the caller has gone."""
        own = self._own
        if not own.placed:
            with WAIT_FOR_PROCESSOR():
                self._places.acquire()
            own.placed = True
        try:
            current_request().check()
            yield
        finally:
            if not own.kept:
                self.leave()

    def leave(self) -> None:
        """Let another thread have this one's place, where it has one."""
        if self._own.placed:
            self._own.placed = False
            self._places.release()


class _Own(threading.local):
    """How it stands with a thread."""

    kept = False
    """Whether it is in `Turns.kept`."""
    placed = False
