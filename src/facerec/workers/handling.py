"""What a handler of jobs is, and what becomes of a job when its handler is through with it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from enum import Enum, auto

from facerec.errors import (
    DatabaseUnavailable,
    DiskFull,
    DiskReadOnly,
    DownloadFailed,
    FacerecError,
    JobQueueUnavailable,
    ModelSwitched,
    NoticeFailed,
    Overloaded,
    S3Unavailable,
    SessionStoreUnavailable,
    StorageError,
    UrlUnavailable,
    VectorStoreUnavailable,
)
from facerec.jobs.base import Job

FIRST_PAUSE_SECONDS, GROWTH, LONGEST_PAUSE_SECONDS = 10.0, 3, 600.0
"""Before a job is tried again: three times as long from try to try."""

OUTAGES = (
    DatabaseUnavailable,
    DiskFull,
    DiskReadOnly,
    JobQueueUnavailable,
    SessionStoreUnavailable,
    VectorStoreUnavailable,
)
"""A server is away, or takes nothing: no fault of the job, so no attempt is counted, and the worker pauses
with it.
"""

PASSING = (
    DownloadFailed,
    ModelSwitched,
    NoticeFailed,
    Overloaded,
    S3Unavailable,
    StorageError,
    UrlUnavailable,
)
"""What may be otherwise in a while. Of every other error that has a meaning, trying again cures nothing."""

_log = logging.getLogger(__name__)


class Interrupted(Exception):
    """What a handler raises (`JobControl.check`) to leave its job to another worker, as if not begun."""


class Lost(Interrupted):
    """Another worker has the job by now: the queue is told nothing by this one."""


class JobControl:
    """What a handler is told while it works; its job's lease is prolonged for it meanwhile."""

    def __init__(self, stopping: threading.Event) -> None:
        """stopping: set when the worker is to end soon."""
        self._stopping = stopping
        self._lost = threading.Event()

    @property
    def stopping(self) -> bool:
        """Whether the handler should come to an end: finish, if that is a matter of seconds, or `check`."""
        return self._stopping.is_set() or self._lost.is_set()

    def check(self) -> None:
        """Raise Interrupted where the worker is to end, Lost where another one may have the job by now."""
        if self._lost.is_set():
            raise Lost
        if self.stopping:
            raise Interrupted

    def lose(self) -> None:
        """The lease was lost: another worker may be at the job too."""
        self._lost.set()


Handler = Callable[[Job, JobControl], None]
"""Does a job of its kind. It may be called twice with one job, at once even, and broken off anywhere: then
the outcome is the same. An error tells what becomes of the job (`judge`)."""

Handlers = Mapping[str, Handler]
"""By kinds of jobs."""


class Fate(Enum):
    """What becomes of a job."""

    DONE = auto()
    RETRY = auto()
    RELEASE = auto()
    """Left to whoever leases it next; this attempt does not count."""
    LEFT = auto()
    """It is another worker's by now."""
    SET_ASIDE = auto()


def judge(error: BaseException | None, attempt: int, attempts: int) -> tuple[Fate, str]:
    """What becomes of a job after its handler's `attempt` (from 1) of `attempts`, and why, for people."""
    if error is None:
        return Fate.DONE, ""
    if isinstance(error, Lost):
        return Fate.LEFT, ""
    if isinstance(error, (Interrupted, *OUTAGES)):
        return Fate.RELEASE, str(error)
    if isinstance(error, FacerecError):
        reason = error.message
        if not isinstance(error, PASSING):
            return Fate.SET_ASIDE, reason
    else:
        reason = f"A defect of the service: {type(error).__name__}."
    if attempt >= attempts:
        return Fate.SET_ASIDE, f"{reason} ({attempt} attempts)"
    return Fate.RETRY, reason


def pause_before(attempt: int) -> float:
    """Seconds between an attempt that failed (from 1) and the next one."""
    return float(min(FIRST_PAUSE_SECONDS * GROWTH ** min(attempt - 1, 20), LONGEST_PAUSE_SECONDS))
