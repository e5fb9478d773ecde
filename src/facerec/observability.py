"""What is known of the request at work, carried through rooms and threads by a context variable; logging."""

from __future__ import annotations

import contextlib
import logging
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

    error: str | None = None
    """Code that the REST door answers with; None while it is none."""
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


@contextlib.contextmanager
def request_context(context: RequestContext) -> Iterator[RequestContext]:
    """Make `context` the current one in this thread or task."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)


class _RequestIdFilter(logging.Filter):
    """Puts the request's correlation id on every log record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Annotate, never drop."""
        context = _current.get()
        record.request_id = context.request_id if context else "-"
        return True


def configure_logging(level: str, *, process: str = "") -> None:
    """Log to standard error, one line a record, with the correlation id. No biometric data is ever logged.

    process: what each line calls this process, where there are several.
    """
    # What the lines do not show need not be asked of the system for each of them.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler()
    handler.addFilter(_RequestIdFilter())
    own = process.replace("%", "%%") + " " if process else ""
    form = f"%(asctime)s %(levelname)s {own}%(name)s [%(request_id)s] %(message)s"
    handler.setFormatter(logging.Formatter(form))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # What uvicorn tells of its own start helps nobody.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
