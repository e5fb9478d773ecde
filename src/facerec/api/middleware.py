"""What happens to every request, whatever it asks: identified, watched, bounded in time, noted in the log."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facerec.observability import RequestContext, metrics, request_context
from facerec.observability.logs import FIELDS
from facerec.observability.tracing import span_of_request

if TYPE_CHECKING:
    from opentelemetry.trace import Span

REQUEST_ID = b"x-amzn-requestid"
CORRELATION_ID = b"x-correlation-id"
CLIENTS_IDS = (CORRELATION_ID, b"x-request-id")
"""Headers in which a client, or a proxy before the service, names its request itself."""

_WELL_FORMED = re.compile(rb"[A-Za-z0-9._:\-]{1,128}")
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
CALLER_GONE = 499
"""Status under which a request is counted whose caller did not wait for the answer."""

LONGEST_LOGGED = 120
"""Most characters of a path or an operation in the log."""

TooSlow = Callable[[str], Response]
"""The answer, for a request id, to a request whose body does not arrive in time."""

_log = logging.getLogger("facerec.access")


class RequestMiddleware:
    """Gives each request its id and context, its answer the common headers, and the log a line.

    A client's own id of a request is taken, where it may stand in a log.

    The context's `caller_gone` is set as soon as the client has closed the connection, so that work not yet
    begun is left undone.
    """

    def __init__(
        self, app: ASGIApp, *, body_seconds: float, request_seconds: float, too_slow: TooSlow
    ) -> None:
        """body_seconds: how long a request's body may take to arrive, however steadily it trickles.

        request_seconds: how long after it work for the request may still be begun.
        """
        self._app = app
        self._body_seconds = body_seconds
        self._request_seconds = request_seconds
        self._too_slow = too_slow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        context = RequestContext(client=client[0] if client else "-")
        if (given := _given_id(scope)) is not None:
            context.request_id = given
        incoming = _Incoming(
            receive, context, body_seconds=self._body_seconds, request_seconds=self._request_seconds
        )
        outgoing = _Outgoing(send, context)
        started = time.perf_counter()
        metrics.requests_in_progress.inc()
        try:
            with request_context(context), span_of_request(scope["headers"]) as opened:
                await self._app(scope, incoming.receive, _unless(incoming, outgoing.send))
                if incoming.timed_out and outgoing.status is None:
                    answer = self._too_slow(context.request_id)
                    answer.headers["Connection"] = "close"
                    await answer(scope, receive, outgoing.send)
                if opened is not None:
                    _name_span(opened, scope, context, outgoing)
                _note(scope, outgoing, incoming, time.perf_counter() - started)
        finally:
            _count(context, outgoing, incoming, started)
            context.caller_gone.set()  # whoever still works for this request works for nobody
            incoming.close()


def _given_id(scope: Scope) -> str | None:
    """The id that a request comes with, where it is one that may stand in a log and in a header."""
    for name, value in scope["headers"]:
        if name in CLIENTS_IDS and _WELL_FORMED.fullmatch(value):
            return str(value.decode())
    return None


def _unless(incoming: _Incoming, send: Send) -> Send:
    """`send`, deaf once the body has timed out: what the application then answers is not the true reason."""

    async def guarded(message: Message) -> None:
        if not incoming.timed_out:
            await send(message)

    return guarded


class _Incoming:
    """The request's messages: a deadline on the body, and after it a watch on the connection."""

    def __init__(
        self, receive: Receive, context: RequestContext, *, body_seconds: float, request_seconds: float
    ) -> None:
        self._receive = receive
        self._context = context
        self._request_seconds = request_seconds
        self._deadline = time.monotonic() + body_seconds
        context.deadline = self._deadline + request_seconds
        self._gone = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self.timed_out = False

    async def receive(self) -> Message:
        """The next message for the application; a body too late reads as a connection lost."""
        if self._watch is not None:
            await self._gone.wait()
            return {"type": "http.disconnect"}
        try:
            async with asyncio.timeout(self._deadline - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            self.timed_out = True
            message = {"type": "http.disconnect"}
        if message["type"] == "http.disconnect":
            self._context.caller_gone.set()
        elif not message.get("more_body", False):
            self._context.ready_at = time.perf_counter()
            self._context.deadline = time.monotonic() + self._request_seconds
            self._watch = asyncio.create_task(self._wait_for_disconnect())
        return message

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._context.caller_gone.set()
        self._gone.set()

    @property
    def caller_gone(self) -> bool:
        """Whether the client went before it had its answer."""
        return self._context.caller_gone.is_set() and not self.timed_out

    def close(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.cancel()


class _Outgoing:
    """The answer's messages: common headers added, status and size noted."""

    def __init__(self, send: Send, context: RequestContext) -> None:
        self._send = send
        self._context = context
        self.status: int | None = None
        self.began_at: float | None = None
        """When the answer began (`time.perf_counter`)."""
        self.unread = False
        """Whether the caller had gone by then."""
        self.size = 0

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.began_at = time.perf_counter()
            self.unread = self._context.caller_gone.is_set()
            headers = list(message.get("headers", ()))
            given = {name.lower() for name, _ in headers}
            request_id = self._context.request_id.encode()
            common = ((REQUEST_ID, request_id), (CORRELATION_ID, request_id), *SECURITY_HEADERS)
            headers += [header for header in common if header[0] not in given]
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body":
            self.size += len(message.get("body", b""))
        await self._send(message)


def _count(context: RequestContext, outgoing: _Outgoing, incoming: _Incoming, started: float) -> None:
    """Count the request, its time until the answer began, and its error."""
    seconds = (outgoing.began_at or time.perf_counter()) - started
    door, operation = context.door, context.operation
    status, error = outgoing.status or 500, context.error
    if incoming.caller_gone and (outgoing.unread or outgoing.status is None):
        status, error = CALLER_GONE, "CallerGone"
    elif error is None and status >= 400:
        error = "RequestTimeout" if incoming.timed_out else f"HTTP{status}"
    metrics.requests_in_progress.dec()
    metrics.requests.labels(door, operation, str(status)).inc()
    metrics.request_seconds.labels(door, operation).observe(seconds)
    if error is not None:
        metrics.request_errors.labels(door, operation, error).inc()


def _name_span(opened: Span, scope: Scope, context: RequestContext, outgoing: _Outgoing) -> None:
    """Tell of a request's span what is known at its end."""
    opened.update_name(f"{context.door} {context.operation}")
    opened.set_attributes(
        {
            "http.request.method": scope["method"],
            "http.route": _route(scope),
            "http.response.status_code": outgoing.status or 0,
            "facerec.request_id": context.request_id,
            "facerec.error": context.error or "",
        }
    )


def _route(scope: Scope) -> str:
    """The pattern of a request's path: the path itself may name a person."""
    return str(getattr(scope.get("route"), "path", scope["path"]))[:LONGEST_LOGGED]


def _note(scope: Scope, outgoing: _Outgoing, incoming: _Incoming, seconds: float) -> None:
    """One line: who, what kind of request, how it went. Bodies, and so faces and their names, never show."""
    if not _log.isEnabledFor(logging.INFO):
        return
    client = scope.get("client")
    target = next((value for name, value in scope["headers"] if name == b"x-amz-target"), b"-")
    operation = target.decode("latin-1").rpartition(".")[2]
    fields = {
        "client": client[0] if client else "-",
        "method": scope["method"],
        "path": _route(scope),
        "operation": ascii(operation[:LONGEST_LOGGED])[1:-1],
        "status": outgoing.status,
        "bytes": outgoing.size,
        "milliseconds": round(seconds * 1000, 1),
        "caller_gone": incoming.caller_gone,
    }
    _log.info(
        "%s %s %r %s %s %d bytes %.1f ms%s",
        fields["client"],
        fields["method"],
        fields["path"],
        fields["operation"],
        "-" if outgoing.status is None else outgoing.status,
        outgoing.size,
        seconds * 1000,
        " (the caller had gone)" if incoming.caller_gone else "",
        extra={FIELDS: fields},
    )
