"""What a request has to pass before anything reads it: bounds on its body, and on how many are present."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from anyio.to_thread import current_default_thread_limiter
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facerec.api.rest.errors import answer_error
from facerec.errors import FacerecError, ImageTooLarge, Overloaded

HELD = 32
"""Bodies of the largest size that may be in memory at once, complete or still arriving."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What is let in."""

    body: int
    """Most bytes of a body."""
    larger: Mapping[str, int]
    """Bounds of their own, by what a path ends with: of bodies that are not kept in memory."""
    present: int
    """Most requests at work or waiting for it."""
    threads: int
    """Most of them at work."""


class Admission:
    """Refuses bodies that are too large, and requests while as many are present as may be.

    A body is too large by what it declares, or once so much has come. A request counts once its body is
    there, so that a client that sends slowly takes no place from one that has sent, until its answer begins,
    so that one that is told events takes none either.
    """

    def __init__(self, app: ASGIApp, bounds: Bounds) -> None:
        self._app = app
        self._bounds = bounds
        self._present = 0
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limiter = current_default_thread_limiter()  # of this event loop: FastAPI has no other place to say it
        limiter.total_tokens = self._bounds.threads
        visit = _Visit(self, scope, receive, send)
        try:
            if not visit.has_body:
                visit.enter()
            if visit.refusal is None:
                await self._app(scope, visit.receive, visit.send)
        except ClientDisconnect:
            if visit.refusal is None:
                raise
        finally:
            visit.leave()
        if visit.refusal is not None and not visit.answered:
            await (await answer_error(Request(scope), visit.refusal))(scope, receive, send)

    def enter(self) -> bool:
        """Take a place; False where there is none."""
        if self._present >= self._bounds.present:
            return False
        self._present += 1
        return True

    def leave(self) -> None:
        """Give a place back."""
        self._present -= 1

    def hold(self, size: int) -> bool:
        """Count bytes that are in memory (below 0: no more); False where there are too many of them."""
        self._held += size
        return self._held <= HELD * self._bounds.body

    def limit(self, path: str) -> tuple[int, bool]:
        """Most bytes of a body sent to a path, and whether it is kept in memory."""
        for end, size in self._bounds.larger.items():
            if path.endswith(end):
                return size, False
        return self._bounds.body, True


class _Visit:
    """One request: what it has sent, and why it is refused."""

    def __init__(self, admission: Admission, scope: Scope, receive: Receive, send: Send) -> None:
        self._admission = admission
        self._receive = receive
        self._send = send
        self._limit, self._kept = admission.limit(scope["path"])
        headers = dict(scope["headers"])
        declared = headers.get(b"content-length", b"")
        self.has_body = b"transfer-encoding" in headers or declared not in (b"", b"0")
        self.refusal: FacerecError | None = None
        self.answered = False
        self._size = 0
        self._held = 0
        self._inside = False
        if declared.isdigit() and int(declared) > self._limit:
            self._refuse_size()

    def enter(self) -> None:
        """Take a place, or be refused."""
        if not self._inside:
            self._inside = self._admission.enter()
            if not self._inside:
                self.refusal = Overloaded("The service has more to do than it can: try again in a moment.")

    def leave(self) -> None:
        """Give back what was taken."""
        if self._inside:
            self._admission.leave()
            self._inside = False
        self._admission.hold(-self._held)
        self._held = 0

    async def receive(self) -> Message:
        """The next message; for one who is refused, that the client has gone."""
        message = await self._receive()
        if message["type"] == "http.request" and self.refusal is None:
            self._take(len(message.get("body", b"")), last=not message.get("more_body", False))
        return {"type": "http.disconnect"} if self.refusal is not None else message

    async def send(self, message: Message) -> None:
        """Pass a message on; what is answered to one who is refused is not the true reason."""
        if self.refusal is None:
            if message["type"] == "http.response.start":
                self.answered = True
                self.leave()
            await self._send(message)

    def _take(self, size: int, *, last: bool) -> None:
        self._size += size
        if self._size > self._limit:
            self._refuse_size()
            return
        if self._kept and not self.answered:
            self._held += size
            if not self._admission.hold(size):
                self.refusal = Overloaded("The service has too much to read: try again in a moment.")
                return
        if last and self.has_body and not self.answered:
            self.enter()

    def _refuse_size(self) -> None:
        self.refusal = ImageTooLarge(
            f"The request's body has more than {self._limit} bytes: send fewer or smaller pictures."
        )
