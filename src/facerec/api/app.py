"""The HTTP application: what is answered where, and what every request passes on its way."""

from __future__ import annotations

from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

import facerec
from facerec.api.health import Health
from facerec.api.middleware import RequestMiddleware
from facerec.api.rekognition.app import RekognitionDoor
from facerec.api.rekognition.service import Service as RekognitionService
from facerec.api.rest.app import PREFIX, at_the_root, create_rest
from facerec.api.rest.app import Service as RestService
from facerec.db import Database
from facerec.engine.base import Engine
from facerec.services.gate import Gate
from facerec.sessions.base import SessionStore
from facerec.vectors.base import VectorStore

THREADS_PER_PROCESSOR = 8
"""Requests at work at once for each processor: enough that searches gather for one scan, and that others
work while some wait for the disk. More of them do not answer more, and the slowest later."""

MOST_THREADS = 48
"""Bound on threads at work; the database has connections for these and a few others."""


class Service(RekognitionService, RestService, Protocol):
    """The opened service, as `bootstrap` puts it together."""

    @property
    def engine(self) -> Engine:
        """What recognises."""

    @property
    def database(self) -> Database:
        """The truth."""

    @property
    def vectors(self) -> VectorStore:
        """The index derived from it."""

    @property
    def sessions(self) -> SessionStore:
        """What is remembered for minutes."""

    @property
    def gate(self) -> Gate:
        """Who may come in, and how often."""


def create_app(service: Service, *, worker: int = 1) -> ASGIApp:
    """The application of an opened service. It opens and closes nothing itself.

    worker: which of the processes that share the address this is; 1 is the first.
    """
    settings = service.settings
    threads = min(settings.threads * THREADS_PER_PROCESSOR, settings.max_queue, MOST_THREADS)
    door = RekognitionDoor(service, service.gate.signed, workers=threads)
    health = Health(
        engine=service.engine,
        database=service.database,
        vectors=service.vectors,
        sessions=service.sessions,
        worker=worker,
        workers=settings.workers,
    )
    rest = create_rest(service, threads=threads)
    routed = Starlette(
        routes=[
            Route("/", door, methods=["POST"]),
            Route("/", describe, methods=["GET"]),
            Route("/health", health.handle, methods=["GET"]),
        ],
        exception_handlers={HTTPException: refuse, Exception: fail},
    )

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        """What nearly every request is for, without the way through the routes."""
        path = scope["path"] if scope["type"] == "http" else ""
        if path == "/" and scope["method"] == "POST":
            await door(scope, receive, send)
        else:
            await (rest if for_rest(scope, path) else routed)(scope, receive, send)

    answering: ASGIApp = dispatch
    if settings.allowed_origins:
        # Without credentials: a key is sent by the page itself, never by the browser of its own accord.
        answering = CORSMiddleware(
            dispatch,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["*"],
            expose_headers=["Retry-After", "x-amzn-RequestId", "X-Correlation-ID"],
        )
    watched = RequestMiddleware(
        answering,
        body_seconds=settings.body_timeout_seconds,
        request_seconds=settings.request_seconds,
        too_slow=too_slow,
    )
    return ServerErrorMiddleware(watched, handler=fail)


def for_rest(scope: Scope, path: str) -> bool:
    """Whether the REST door answers a path; the scope is told where the door begins.

    Not by a Mount, which does not know a path with a line's end in it.
    """
    if path.startswith(f"{PREFIX}/"):
        scope["root_path"] = PREFIX
        return True
    return at_the_root(path)


async def describe(_request: Request) -> Response:
    """Say what listens here, for a person who opens the address in a browser."""
    return JSONResponse(
        {
            "service": "facerec",
            "version": facerec.__version__,
            "description": "Self-hosted face recognition for clients of Amazon Rekognition",
            "use": "Give this address to an AWS client as its endpoint URL; its requests are POSTed here.",
            "health": "/health",
        }
    )


def too_slow(request_id: str) -> Response:
    """The answer to a request whose body did not arrive in time."""
    return JSONResponse(
        {"__type": "RequestTimeoutException", "message": "The request's body did not arrive in time."},
        status_code=408,
        headers={"x-amzn-RequestId": request_id},
    )


async def refuse(request: Request, error: Exception) -> Response:
    """An address or method that nothing answers to."""
    assert isinstance(error, HTTPException)  # noqa: S101  (Starlette calls this for no other; narrows the type)
    if error.status_code == 404:
        message = f"There is nothing at {request.url.path[:120]!a}. AWS clients POST to /; see also /health."
    elif error.status_code == 405:
        message = f"{request.method} is not answered here."
    else:
        message = error.detail
    return JSONResponse({"message": message}, status_code=error.status_code, headers=error.headers)


async def fail(_request: Request, _error: Exception) -> Response:
    """A fault in the service itself; the server logs it with its stack trace."""
    return JSONResponse({"message": "Internal server error"}, status_code=500)
