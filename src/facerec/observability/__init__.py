"""What is known of the request at work, carried through rooms and threads by a context variable.

Beside it here: what is counted and timed (`metrics`, told by `exposition`), how long each step of the work
takes (`steps`), and the log (`logs`).
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field

from facerec.access import Caller
from facerec.errors import Cancelled, WaitedTooLong


@dataclass(slots=True)
class RequestContext:
    """One request: its correlation id, who sends it, and whether its caller still waits for the answer."""

    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    caller_gone: threading.Event = field(default_factory=threading.Event)
    client: str = "-"
    """Address that the request came from."""
    caller: Caller | None = None
    """Set by the door once it knows; None before, and for work that no request asked for."""

    door: str = "service"
    """Which door answers: rekognition, rest, or service for what is neither (/health, /metrics)."""
    is_job: bool = False
    """Whether it is work in the background, which lets requests go first."""
    operation: str = "none"
    """What is asked for, by the door's own name of it; none while it is not known, or is nothing."""
    error: str | None = None
    """Code of the error that the door answers with; None while it is none."""
    collection: str | None = None
    """The one that it is about, for the audit log, where its path does not name it."""
    people: list[str] = field(default_factory=list)
    """Ids of persons that it turned out to be about, for the audit log."""
    faces: list[str] = field(default_factory=list)
    """Ids of faces that it turned out to be about, for the audit log."""
    access_key: str | None = None
    """Id of the key that it makes or changes, for the audit log."""
    changes: bool = False
    """Whether a request that else only searches is to change something, for the audit log."""
    ready_at: float | None = None
    """When all of it had arrived (`time.perf_counter`); None before, and for what has no body."""
    deadline: float | None = None
    """When work that has not begun is begun no more (`time.monotonic`); None: at any time."""

    def check(self) -> None:
        """Called before work that nobody would read. Raises Cancelled when the caller has gone, WaitedTooLong
        when the request's time is over.
        """
        if self.caller_gone.is_set():
            raise Cancelled
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise WaitedTooLong


_current: ContextVar[RequestContext | None] = ContextVar("facerec_request", default=None)


def current_request() -> RequestContext:
    """The request at work; outside of one, a context of its own that is never cancelled."""
    return _current.get() or RequestContext()


def request_at_work() -> RequestContext | None:
    """As `current_request`; None outside of one."""
    return _current.get()


@contextlib.contextmanager
def request_context(context: RequestContext) -> Iterator[RequestContext]:
    """Make `context` the current one in this thread or task."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)
