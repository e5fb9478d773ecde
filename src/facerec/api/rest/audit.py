"""The audit log's place at this door: where an answer is about to leave."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facerec.api.rest.errors import INTERNAL, answer_error
from facerec.api.rest.permissions import READING_POSTS, WITHOUT_KEY, about
from facerec.errors import StorageError
from facerec.observability import RequestContext, current_request
from facerec.services.audit import DONE, Act, AuditLog, Deed

DOOR = "rest"
LOOKING = frozenset({"/compare-faces", "/detect-faces", "/embed-faces", *WITHOUT_KEY})
"""Posts that are about nobody who is enrolled."""


class Audited:
    """Writes requests that change something, or search, before their answers leave."""

    def __init__(self, app: ASGIApp, log: AuditLog, registry: str) -> None:
        """registry: name of the registry's collection."""
        self._app = app
        self._log = log
        self._registry = registry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        context = current_request()
        failed = False

        async def written(message: Message) -> None:
            nonlocal failed
            if message["type"] == "http.response.start":
                outcome = context.error or (DONE if message["status"] < 400 else str(message["status"]))
                try:
                    await self._write(scope, context, outcome)
                except StorageError as error:  # it was done, and must not be answered without its entry
                    failed = True
                    await (await answer_error(Request(scope), error))(scope, receive, send)
            if not failed:
                await send(message)

        try:
            await self._app(scope, receive, written)
        except Exception:
            await self._write(scope, context, INTERNAL.code)
            raise

    async def _write(self, scope: Scope, context: RequestContext, outcome: str) -> None:
        path = str(getattr(scope.get("route"), "path", ""))
        if not path or path in LOOKING:
            return
        parameters = scope.get("path_params", {})
        person, face = parameters.get("person_id"), parameters.get("face_id")
        deed = Deed(
            act=Act.SEARCH if path in READING_POSTS and not context.changes else Act.CHANGE,
            door=DOOR,
            operation=f"{scope['method']} {path}",
            collection=context.collection or about(path, parameters, registry=self._registry),
            outcome=outcome,
            face_ids=tuple(dict.fromkeys([*([] if face is None else [face]), *context.faces])),
            people=tuple(dict.fromkeys([*([] if person is None else [person]), *context.people])),
            access_key=context.access_key,
        )
        await run_in_threadpool(self._log.record, context, deed)
