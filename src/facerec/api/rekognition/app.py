"""The Rekognition door: authenticate, parse, validate, dispatch, serialize.

The five steps and the use case run in a thread of a bounded pool, so the event loop does nothing but read and
write. `RekognitionDoor.answer` is those steps without HTTP.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from facerec.api.rekognition.errors import BodyTooLarge, NotOffered, UnknownOperation, error_body
from facerec.api.rekognition.model import Operation, read_model
from facerec.api.rekognition.operations import OPERATIONS
from facerec.api.rekognition.protocol import CONTENT_TYPE, parse, serialize
from facerec.api.rekognition.service import Service
from facerec.api.rekognition.validation import validate
from facerec.auth.sigv4 import Identity, SignedRequest
from facerec.errors import Cancelled, Overloaded
from facerec.observability import current_request

Authenticate = Callable[[SignedRequest], Identity | None]
"""Says who signed a request, None where the service is open. Raises AccessDenied and its kinds."""
REQUEST_ID = "x-amzn-RequestId"
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


class RekognitionDoor:
    """Answers Amazon Rekognition's AWS JSON 1.1 protocol on one route."""

    def __init__(self, service: Service, authenticate: Authenticate, *, workers: int) -> None:
        """`workers`: most requests at work at once; up to the settings' `max_queue` more of them may wait."""
        self._service = service
        self._authenticate = authenticate
        self._model = read_model()
        self._maxima = {"ImageBlob": service.settings.max_image_bytes}
        self._limiter = anyio.CapacityLimiter(workers)
        self._present = 0
        self._held = 0

    async def handle(self, request: Request) -> Response:
        """Answer one HTTP request: a Starlette endpoint for `POST /`."""
        request_id = current_request().request_id
        try:
            answer = await self._answer_body(request, request_id)
        except (Overloaded, BodyTooLarge) as error:
            answer = Answer(*error_body(error, request_id))
        except ClientDisconnect:
            answer = Answer(*error_body(Cancelled(), request_id))
        return Response(
            answer.body,
            status_code=answer.status,
            headers={"content-type": CONTENT_TYPE, REQUEST_ID: request_id},
        )

    def answer(self, request: SignedRequest, body: bytes, request_id: str) -> Answer:
        """The answer to a request, whatever it is; every exception becomes an answer too."""
        try:
            current_request().check()
            self._authenticate(request)
            operation = self._operation(request)
            parameters = parse(operation.input, body)
            validate(operation.input, parameters, maxima=self._maxima)
            result = OPERATIONS[operation.name](self._service, parameters)
            return Answer(200, serialize(operation.output, result))
        except Exception as error:  # noqa: BLE001  (the last line of defence: it is logged with its stack trace)
            return Answer(*error_body(error, request_id))

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

    async def _answer_body(self, request: Request, request_id: str) -> Answer:
        """Read the body and have a thread answer it.

        Raises Overloaded where as many requests wait as may. A request counts once its body is there: a
        client that sends slowly takes no place from one that has sent. What is being sent is bounded by the
        bytes held. Raises BodyTooLarge.
        """
        chunks: list[bytes] = []
        try:
            self._refuse_when_full()
            async for chunk in self._body(request):
                chunks.append(chunk)
                self._held += len(chunk)
                self._refuse_when_full()
            self._present += 1
            try:
                work = functools.partial(self._answer_chunks, request, chunks, request_id)
                return await anyio.to_thread.run_sync(work, limiter=self._limiter)
            finally:
                self._present -= 1
        finally:
            self._held -= sum(len(chunk) for chunk in chunks)

    def _refuse_when_full(self) -> None:
        settings = self._service.settings
        if self._present >= settings.max_queue or self._held > HELD * settings.max_body_bytes:
            raise Overloaded

    def _answer_chunks(self, request: Request, chunks: list[bytes], request_id: str) -> Answer:
        """Answer a body: joined and hashed here, in the thread, for it may be large."""
        body = b"".join(chunks)
        return self.answer(_signed(request, body), body, request_id)

    async def _body(self, request: Request) -> AsyncIterator[bytes]:
        """The body in pieces. Raises BodyTooLarge once so much is read that the client will listen."""
        limit = self._service.settings.max_body_bytes
        declared = request.headers.get("content-length", "")
        size = int(declared) if declared.isdecimal() else 0
        if size > limit and (size > DRAINED * limit or "expect" in request.headers):
            raise BodyTooLarge(f"The request's body has {size} bytes; the limit is {limit}")
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > DRAINED * limit:
                break
            if size <= limit:
                yield chunk
        if size > limit:
            raise BodyTooLarge(f"The request's body has more than {limit} bytes")


def _signed(request: Request, body: bytes) -> SignedRequest:
    """The request as its signature sees it."""
    scope: Mapping[str, object] = request.scope
    path = scope.get("raw_path") or request.url.path.encode()
    query = scope.get("query_string", b"")
    if not isinstance(path, bytes) or not isinstance(query, bytes):
        raise TypeError("the server's scope has a path or query that is not bytes")
    return SignedRequest(
        method=request.method,
        path=path,
        query=query,
        headers=tuple(request.headers.raw),
        body_sha256=hashlib.sha256(body).hexdigest(),
    )
