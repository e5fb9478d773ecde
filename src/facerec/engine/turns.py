"""Whose turn it is at an engine: no more threads at work than it has workers, and jobs after requests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from facerec.observability import current_request, metrics
from facerec.observability.steps import Step

WAIT_FOR_PROCESSOR = Step("engine.wait_processor", metrics.wait_seconds.labels("processor"))

JOB_PATIENCE_SECONDS = 0.5
"""How long a job lets requests go first: under any load each thread of jobs does two a second, a few
hundredths of the processor."""


class Turns:
    """Places for the workers of an engine. Safe to use from many threads.

    A job waits while requests do, for nobody waits for it; after JOB_PATIENCE_SECONDS it is as they are.
    """

    def __init__(self, workers: int) -> None:
        """workers: most threads at work at a time."""
        lock = threading.Lock()
        self._for_all = threading.Condition(lock)
        self._for_jobs = threading.Condition(lock)
        self._free = workers
        self._first = 0
        """Those that wait for any free place: requests, and jobs that have waited long."""
        self._later = 0
        """Jobs that let them go first."""
        self._own = _Own()

    @property
    def waiting(self) -> tuple[int, int]:
        """How many wait for any free place, and how many jobs let them go first."""
        with self._for_all:
            return self._first, self._later

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
        own, request = self._own, current_request()
        if not own.placed:
            with WAIT_FOR_PROCESSOR():
                self._take(is_job=request.is_job)
            own.placed = True
        try:
            request.check()
            yield
        finally:
            if not own.kept:
                self.leave()

    def leave(self) -> None:
        """Let another thread have this one's place, where it has one."""
        if self._own.placed:
            self._own.placed = False
            with self._for_all:
                self._free += 1
                self._wake()

    def _take(self, *, is_job: bool) -> None:
        with self._for_all:
            if is_job:
                self._later += 1
                self._for_jobs.wait_for(lambda: self._free and not self._first, JOB_PATIENCE_SECONDS)
                self._later -= 1
            self._first += 1
            try:
                self._for_all.wait_for(lambda: self._free)
                self._free -= 1
            finally:
                self._first -= 1
                self._wake()

    def _wake(self) -> None:
        """Wake one that may have a place that is free."""
        if self._free:
            (self._for_all if self._first else self._for_jobs).notify()


class _Own(threading.local):
    """How it stands with a thread."""

    kept = False
    """Whether it is in `Turns.kept`."""
    placed = False
