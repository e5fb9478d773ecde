"""The REST door: routers, one for each aggregate, behind one check of who asks and one form of errors."""

from __future__ import annotations

from typing import Annotated, Protocol

from fastapi import Depends, FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyHeader
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.middleware import Middleware

import facerec
from facerec.api.rest.albums import albums_router
from facerec.api.rest.bodies import BodyLimit
from facerec.api.rest.errors import (
    ErrorBody,
    Refused,
    answer_error,
    answer_http,
    answer_invalid,
    answer_refusal,
)
from facerec.api.rest.imports import imports_router
from facerec.api.rest.permissions import check
from facerec.api.rest.persons import persons_router
from facerec.api.rest.registrations import registrations_router
from facerec.api.rest.videos import PATH as VIDEOS
from facerec.api.rest.videos import videos_router
from facerec.config import Settings
from facerec.errors import FacerecError
from facerec.observability import current_request
from facerec.services.albums.use_cases import AlbumUseCases
from facerec.services.gate import Gate
from facerec.services.registry.service import RegistryService
from facerec.services.registry.sessions import RegistrationSessions
from facerec.services.videos.service import VideoService

PREFIX = "/api/v1"
"""Where everything is; the registry is at the root too."""

AT_THE_ROOT = ("/register", "/verify", "/identify", "/persons", "/faces", "/registrations")
"""First parts of the registry's paths, which are answered without the prefix as well."""

API_KEY = APIKeyHeader(
    name="X-API-Key",
    auto_error=False,
    description="A key of `facerec keys create --api`; none while the service has no key.",
)


class Service(Protocol):
    """What this door needs of the service."""

    @property
    def settings(self) -> Settings:
        """The limits on a request."""

    @property
    def gate(self) -> Gate:
        """Who may come in, and how often."""

    @property
    def registry(self) -> RegistryService:
        """Use cases of persons."""

    @property
    def registrations(self) -> RegistrationSessions:
        """Registration sessions."""

    @property
    def albums(self) -> AlbumUseCases:
        """Use cases of albums and imports."""

    @property
    def videos(self) -> VideoService:
        """Use cases of videos."""


def create_rest(service: Service) -> FastAPI:
    """The application, whose routes are without the prefix."""

    def caller(request: Request, key: Annotated[str | None, Security(API_KEY)]) -> None:
        """Let in who may come in, and may do this.

        Raises AccessDenied and its kinds, RateExceeded, WaitedTooLong.
        """
        current_request().check()
        found = service.gate.by_api_key(key, host=request.headers.get("host", ""))
        path = request.url.path.removeprefix(PREFIX)
        registry = service.settings.registry_collection
        check(found, request.method, path, request.path_params, registry=registry)

    # Pictures in a form are kept in memory, which the bound on a body allows for, and never on the disk.
    MultiPartParser.spool_max_size = service.settings.max_body_bytes + 1
    app = FastAPI(
        title="facerec",
        version=facerec.__version__,
        description="Self-hosted face recognition: persons, albums, imports and videos.",
        servers=[{"url": PREFIX}],
        root_path_in_servers=False,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(caller)],
        middleware=[
            Middleware(
                BodyLimit,
                most=service.settings.max_body_bytes,
                larger={f"{VIDEOS}/upload": service.settings.max_video_bytes},
            )
        ],
        telemetry={"tracing": False, "metrics": False, "logs": False},
        responses={status: {"model": ErrorBody} for status in ("4XX", "5XX", 422)},
        exception_handlers={
            FacerecError: answer_error,
            Refused: answer_refusal,
            RequestValidationError: answer_invalid,
            HTTPException: answer_http,
            Exception: answer_error,
        },
    )
    app.include_router(persons_router(service.registry))
    app.include_router(registrations_router(service.registrations))
    app.include_router(albums_router(service.albums))
    app.include_router(imports_router(service.albums))
    app.include_router(videos_router(service.videos, max_bytes=service.settings.max_video_bytes))
    return app


def at_the_root(path: str) -> bool:
    """Whether a path without the prefix is one of the registry's."""
    return any(path == first or path.startswith(f"{first}/") for first in AT_THE_ROOT)
