"""Whose turn it is at an engine: no more threads at work than it has workers, and jobs after requests."""

from __future__ import annotations

import threading
from collections import deque
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

    A place that is left goes to the one that has waited longest: were it free for whoever takes it, threads
    that have just come would take it from those that have yet to wake up, which would wait anew. A job waits
    while requests do, for nobody waits for it; after JOB_PATIENCE_SECONDS it is as they are.
    """

    def __init__(self, workers: int) -> None:
        """workers: most threads at work at a time."""
        self._lock = threading.Lock()
        self._free = workers
        """Places that nobody has; while there are any nobody waits."""
        self._first: deque[threading.Lock] = deque()
        """Of each that waits for a place, in order, a lock that is released when it has one: of requests, and
        of jobs that have waited long."""
        self._later: deque[threading.Lock] = deque()
        """Of jobs that let those go first."""
        self._own = _Own()

    @property
    def waiting(self) -> tuple[int, int]:
        """How many wait for any free place, and how many jobs let them go first."""
        with self._lock:
            return len(self._first), len(self._later)

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
            with self._lock:
                waiting = self._first or self._later
                if waiting:
                    waiting.popleft().release()
                else:
                    self._free += 1

    def _take(self, *, is_job: bool) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            called = threading.Lock()
            called.acquire()
            (self._later if is_job else self._first).append(called)
        if not is_job:
            called.acquire()
        elif not called.acquire(timeout=JOB_PATIENCE_SECONDS):
            with self._lock:
                if called in self._later:  # else it has its place by now
                    self._later.remove(called)
                    self._first.append(called)
            called.acquire()


class _Own(threading.local):
    """How it stands with a thread."""

    kept = False
    """Whether it is in `Turns.kept`."""
    placed = False
