"""The page at /liveness/{session_id}, on which a person does what a liveness session asks, before a camera.

It is static but for what it is told of its session, and loads nothing from elsewhere. It takes no key: the id
in its address is what its frames are sent with.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from importlib.resources import files

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from facerec.errors import SessionNotFound, SessionStoreUnavailable
from facerec.services.liveness.records import LivenessSession, Wishes
from facerec.services.liveness.sessions import LivenessSessions

MEDIA_TYPES = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
"""What is served beside the page."""

SESSION_ID = re.compile(r"[0-9a-f-]{36}")

STATIC = files(__name__) / "static"


class CapturePage:
    """Answers with the page of a session, and with the files that it is made of."""

    def __init__(self, sessions: LivenessSessions, origins: Sequence[str]) -> None:
        """origins: of pages that may show this one in a frame, and are told the end."""
        self._sessions = sessions
        self._origins = [origin for origin in origins if origin != "*"]
        self._template = (STATIC / "page.html").read_text("utf-8")

    @property
    def routes(self) -> list[BaseRoute]:
        """The page's routes."""
        return [
            Route("/liveness/static/{name}", self._asset, methods=["GET"]),
            Route("/liveness/{session_id}", self._page, methods=["GET"]),
        ]

    async def _page(self, request: Request) -> Response:
        session_id = request.path_params["session_id"]
        try:
            session = await run_in_threadpool(self._find, session_id)
        except SessionStoreUnavailable:
            return self._answer(503, session_id, "UNAVAILABLE", None)
        if session is None:
            return self._answer(404, "", "EXPIRED", None)
        return self._answer(200, session_id, session.status(self._sessions.clock()), session)

    def _find(self, session_id: str) -> LivenessSession | None:
        if not SESSION_ID.fullmatch(session_id):
            return None
        try:
            return self._sessions.get(session_id)
        except SessionNotFound:
            return None

    def _answer(self, code: int, session_id: str, status: str, session: LivenessSession | None) -> Response:
        wishes = session.wishes if session else Wishes()
        told = {
            "session": session_id,
            "status": status,
            "keeps": "some" if wishes.reference or wishes.audit_images else "none",
            "return": wishes.return_url or "",
            "origins": json.dumps(self._origins),
        }
        attributes = " ".join(f'data-{name}="{html.escape(value)}"' for name, value in told.items())
        return HTMLResponse(self._template.replace("data-told", attributes), code, headers=self._headers())

    def _headers(self) -> dict[str, str]:
        policy = (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "media-src 'self' blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            " ".join(("frame-ancestors 'self'", *self._origins)),
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
        return {
            "Cache-Control": "no-store",
            "Content-Security-Policy": "; ".join(policy),
            "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
            # The address is what its frames are sent with: no other site is told it.
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }

    async def _asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in MEDIA_TYPES:
            raise HTTPException(404)
        headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        return Response((STATIC / name).read_bytes(), media_type=MEDIA_TYPES[name], headers=headers)
