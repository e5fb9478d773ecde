"""A bound on the bytes of a request's body, before anything reads it."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facerec.api.rest.errors import answer_error
from facerec.errors import ImageTooLarge


class BodyLimit:
    """Refuses bodies of more than `most` bytes: by what they declare, or once so much has come."""

    def __init__(self, app: ASGIApp, most: int, larger: Mapping[str, int]) -> None:
        """larger: bounds of their own, by what a path ends with: of bodies that are not kept in memory."""
        self._app = app
        self._most = most
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = next((size for end, size in self._larger.items() if scope["path"].endswith(end)), self._most)
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        size = 0
        too_large = declared.isdigit() and int(declared) > most

        async def counted() -> Message:
            nonlocal size, too_large
            message = await receive()
            size += len(message.get("body", b""))
            too_large = size > most
            return {"type": "http.disconnect"} if too_large else message

        async def guarded(message: Message) -> None:
            if not too_large:  # else what the application then answers is not the true reason
                await send(message)

        if not too_large:
            try:
                await self._app(scope, counted, guarded)
            except ClientDisconnect:
                if not too_large:
                    raise
        if too_large:
            error = ImageTooLarge(
                f"The request's body has more than {most} bytes: send fewer or smaller pictures."
            )
            await (await answer_error(Request(scope), error))(scope, receive, send)
