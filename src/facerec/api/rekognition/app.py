"""The Rekognition door: authenticate, authorize, parse, validate, dispatch, serialize.

The steps and the use case run in a thread of a bounded pool, so the event loop does nothing but read and
write. `RekognitionDoor.answer` is the steps without HTTP. The door is an ASGI application by itself: every
request passes here, and a framework's request and response would take longer than those steps.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from starlette.types import Receive, Scope, Send

from facerec.access import Caller
from facerec.api.rekognition.audit import Entry
from facerec.api.rekognition.errors import (
    BodyTooLarge,
    NotOffered,
    UnknownOperation,
    error_body,
    retry_after,
    wire_error,
)
from facerec.api.rekognition.model import Operation, read_model
from facerec.api.rekognition.operations import OPERATIONS
from facerec.api.rekognition.permissions import check_collection, check_scope
from facerec.api.rekognition.protocol import CONTENT_TYPE, parse, serializer
from facerec.api.rekognition.service import Service
from facerec.api.rekognition.validation import validate
from facerec.auth.sigv4 import SignedRequest
from facerec.errors import Cancelled, Overloaded
from facerec.observability import current_request
from facerec.observability.steps import note_thread

Authenticate = Callable[[SignedRequest], Caller]
"""Says who signed a request. Raises AccessDenied and its kinds, RateExceeded."""
REQUEST_ID = b"x-amzn-requestid"
DRAINED = 4
"""Times the limit on a body that is read, and thrown away, so that a client in the midst of sending gets its
answer and not a broken connection, which it would take for a fault of the network and repeat."""

HELD = 32
"""Bodies of the largest size that may be in memory at once, complete or still arriving."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back."""

    status: int
    body: bytes = field(repr=False)
    retry_after: int | None = None
    """Seconds after which the client should try again, where it should wait."""


class RekognitionDoor:
    """Answers Amazon Rekognition's AWS JSON 1.1 protocol on one route."""

    def __init__(self, service: Service, authenticate: Authenticate, *, workers: int) -> None:
        """`workers`: most requests at work at once; up to the settings' `max_queue` more of them may wait."""
        self._service = service
        self._authenticate = authenticate
        self._model = read_model()
        self._write = {name: serializer(self._model.operations[name].output) for name in OPERATIONS}
        self._maxima = {"ImageBlob": service.settings.max_image_bytes}
        # Its threads start with the first requests, and end with the process.
        self._workers = ThreadPoolExecutor(workers, "facerec-request")
        self._present = 0
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request: an ASGI application for `POST /`."""
        context = current_request()
        context.door = "rekognition"
        request_id = context.request_id
        try:
            answer = await self._answer_body(scope, receive, request_id)
        except (Overloaded, BodyTooLarge, Cancelled) as error:
            context.error = wire_error(error).code
            answer = Answer(*error_body(error, request_id))
        headers = [
            (b"content-type", CONTENT_TYPE.encode()),
            (REQUEST_ID, request_id.encode()),
            (b"content-length", b"%d" % len(answer.body)),
        ]
        if answer.retry_after is not None:
            headers.append((b"retry-after", b"%d" % answer.retry_after))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def answer(self, request: SignedRequest, request_id: str) -> Answer:
        """The answer to a request, whatever it is; every exception becomes an answer too."""
        context, settings = current_request(), self._service.settings
        try:
            context.check()
            caller = self._authenticate(request)
            operation = self._operation(request)
            context.operation = operation.name
            with Entry(self._service, context, operation.name) as entry:
                check_scope(settings, caller, operation.name)
                parameters = parse(operation.input, request.body)
                validate(operation.input, parameters, maxima=self._maxima)
                entry.parameters = parameters
                check_collection(settings, caller, operation.name, parameters)
                result = entry.result = OPERATIONS[operation.name](self._service, parameters)
            return Answer(200, self._write[operation.name](result))
        except Exception as error:  # noqa: BLE001  (the last line of defence: it is logged with its stack trace)
            context.error = wire_error(error).code
            return Answer(*error_body(error, request_id), retry_after(error))

    def _operation(self, request: SignedRequest) -> Operation:
        """The offered operation that the request's target names. Raises UnknownOperation, NotOffered."""
        targets = [
            value.decode("latin-1") for name, value in request.headers if name.lower() == b"x-amz-target"
        ]
        if len(targets) != 1:
            raise UnknownOperation(
                f"The request needs one X-Amz-Target header, such as {self._model.target_prefix}.DetectFaces"
            )
        prefix, _, name = targets[0].partition(".")
        operation = self._model.operations.get(name)
        if prefix != self._model.target_prefix or operation is None:
            raise UnknownOperation(
                f"X-Amz-Target names no operation of Amazon Rekognition: '{targets[0][:120]}'"
            )
        if name not in OPERATIONS:
            raise NotOffered(f"{name} is not offered by this service")
        return operation

    async def _answer_body(self, scope: Scope, receive: Receive, request_id: str) -> Answer:
        """Read the body and have a thread answer it.

        Raises Overloaded where as many requests wait as may. A request counts once its body is there: a
        client that sends slowly takes no place from one that has sent. What is being sent is bounded by the
        bytes held. Raises BodyTooLarge, and Cancelled for a body that breaks off.
        """
        chunks: list[bytes] = []
        try:
            self._refuse_when_full()
            async for chunk in self._body(scope, receive):
                chunks.append(chunk)
                self._held += len(chunk)
                self._refuse_when_full()
            self._present += 1
            try:
                work = functools.partial(self._answer_chunks, scope, chunks, request_id)
                context = contextvars.copy_context()
                return await asyncio.get_running_loop().run_in_executor(self._workers, context.run, work)
            finally:
                self._present -= 1
        finally:
            self._held -= sum(len(chunk) for chunk in chunks)

    def _refuse_when_full(self) -> None:
        settings = self._service.settings
        if self._present >= settings.max_queue or self._held > HELD * settings.max_body_bytes:
            raise Overloaded

    def _answer_chunks(self, scope: Scope, chunks: list[bytes], request_id: str) -> Answer:
        """Answer a body, joined here, in the thread, for it may be large."""
        note_thread()
        request = SignedRequest(
            method=scope["method"],
            path=scope["raw_path"],
            query=scope["query_string"],
            headers=tuple(scope["headers"]),
            body=b"".join(chunks),
        )
        return self.answer(request, request_id)

    async def _body(self, scope: Scope, receive: Receive) -> AsyncIterator[bytes]:
        """The body in pieces. Raises BodyTooLarge once so much is read that the client will listen."""
        limit = self._service.settings.max_body_bytes
        declared, expects = b"", False
        for name, value in scope["headers"]:
            if name == b"content-length":
                declared = value
            elif name == b"expect":
                expects = True
        size = int(declared) if declared.isdigit() else 0
        if size > limit and (size > DRAINED * limit or expects):
            raise BodyTooLarge(f"The request's body has {size} bytes; the limit is {limit}")
        size, more = 0, True
        while more and size <= DRAINED * limit:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Cancelled
            chunk, more = message.get("body", b""), message.get("more_body", False)
            size += len(chunk)
            if chunk and size <= limit:
                yield chunk
        if size > limit:
            raise BodyTooLarge(f"The request's body has more than {limit} bytes")
