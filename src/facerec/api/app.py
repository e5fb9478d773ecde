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
from facerec.api.capture import CapturePage
from facerec.api.console import console_routes
from facerec.api.health import Checks, Health, parts_of
from facerec.api.metrics import Metrics
from facerec.api.middleware import RequestMiddleware
from facerec.api.rekognition.app import RekognitionDoor
from facerec.api.rekognition.service import Service as RekognitionService
from facerec.api.rest.app import PREFIX, at_the_root, create_rest
from facerec.api.rest.app import Service as RestService
from facerec.api.watching import Draining, Watchers
from facerec.config import THREADS_PER_PROCESSOR
from facerec.db import Database
from facerec.engine.base import Engine
from facerec.jobs.base import JobQueue
from facerec.observability import current_request
from facerec.services.gate import Gate
from facerec.sessions.base import SessionStore
from facerec.vectors.base import VectorStore

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
    def jobs(self) -> JobQueue:
        """What is to be done."""

    @property
    def gate(self) -> Gate:
        """Who may come in, and how often."""


def create_app(service: Service, *, worker: int = 1, draining: Draining | None = None) -> ASGIApp:
    """The application of an opened service. It opens and closes nothing itself.

    worker: which of the processes that share the address this is; 1 is the first. draining: tells that the
    end is near.
    """
    settings = service.settings
    threads = min(settings.threads * THREADS_PER_PROCESSOR, settings.max_queue, MOST_THREADS)
    door = RekognitionDoor(service, service.gate.signed, workers=threads)
    rest = create_rest(service, threads=threads)
    routed = Starlette(
        routes=[
            Route("/", door, methods=["POST"]),
            Route("/", describe, methods=["GET"]),
            *_watching_routes(service, worker, draining or Draining()),
            *console_routes(),
            *CapturePage(service.liveness, settings.allowed_origins).routes,
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
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
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


def _watching_routes(service: Service, worker: int, draining: Draining) -> list[Route]:
    """What is asked by those who watch the service."""
    settings, contract = service.settings, service.engine.contract
    watchers = Watchers(service.gate, settings)
    checks = Checks(
        parts_of(
            settings,
            engine=service.engine,
            database=service.database,
            vectors=service.vectors,
            sessions=service.sessions,
            jobs=service.jobs,
        )
    )
    health = Health(checks, watchers, draining, service.engine, worker=worker, workers=settings.workers)
    routes = [
        Route("/health", health.whole, methods=["GET"]),
        Route("/health/live", health.live, methods=["GET"]),
        Route("/health/ready", health.ready, methods=["GET"]),
    ]
    if settings.metrics_access != "off":
        told = Metrics(
            checks,
            watchers,
            draining,
            database=service.database,
            vectors=service.vectors,
            jobs=service.jobs,
            about={
                "pack": contract.pack,
                "model_version": contract.model_version,
                "database": service.database.name,
                "vector_store": settings.vector_store,
            },
        )
        routes.append(Route("/metrics", told.handle, methods=["GET"]))
    return routes


def for_rest(scope: Scope, path: str) -> bool:
    """Whether the REST door answers a path; the scope is told where the door begins, the request which it is.

    Not by a Mount, which does not know a path with a line's end in it.
    """
    if path.startswith(f"{PREFIX}/"):
        scope["root_path"] = PREFIX
    elif not at_the_root(path):
        return False
    current_request().door = "rest"
    return True


async def describe(_request: Request) -> Response:
    """Say what listens here, for a person who opens the address in a browser."""
    return JSONResponse(
        {
            "service": "facerec",
            "version": facerec.__version__,
            "description": "Self-hosted face recognition for clients of Amazon Rekognition",
            "use": "Give this address to an AWS client as its endpoint URL; its requests are POSTed here.",
            "health": "/health",
            "console": "/console",
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
