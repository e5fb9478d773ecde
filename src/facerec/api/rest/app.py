"""The REST door: routers, one for each aggregate, behind one check of who asks and one form of errors."""

from __future__ import annotations

from typing import Annotated, Protocol

from fastapi import Depends, FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.middleware import Middleware

import facerec
from facerec.api.rest.admission import Admission, Bounds
from facerec.api.rest.album_people import album_people_router
from facerec.api.rest.albums import albums_router
from facerec.api.rest.audit import Audited
from facerec.api.rest.audit_entries import audit_router
from facerec.api.rest.caller import caller_router
from facerec.api.rest.collections import collections_router
from facerec.api.rest.docs_page import docs_routes
from facerec.api.rest.errors import (
    ErrorBody,
    Refused,
    answer_error,
    answer_http,
    answer_invalid,
    answer_refusal,
)
from facerec.api.rest.face_recognition import face_recognition_router
from facerec.api.rest.faces import faces_router
from facerec.api.rest.images import images_router
from facerec.api.rest.imports import imports_router
from facerec.api.rest.jobs import jobs_router
from facerec.api.rest.keys import keys_router
from facerec.api.rest.liveness import liveness_router
from facerec.api.rest.model import model_router
from facerec.api.rest.permissions import WITHOUT_KEY, check
from facerec.api.rest.person_imports import person_imports_router
from facerec.api.rest.persons import persons_router
from facerec.api.rest.registrations import registrations_router
from facerec.api.rest.settings import settings_router
from facerec.api.rest.videos import PATH as VIDEOS
from facerec.api.rest.videos import videos_router
from facerec.config import Settings
from facerec.engine.base import Engine
from facerec.errors import FacerecError
from facerec.jobs.base import JobQueue
from facerec.observability import current_request
from facerec.observability.steps import note_thread
from facerec.services.albums.use_cases import AlbumUseCases
from facerec.services.analysis import AnalysisService
from facerec.services.audit import AuditLog
from facerec.services.collections import CollectionService
from facerec.services.faces import FaceService
from facerec.services.gate import Gate
from facerec.services.keys import KeyService
from facerec.services.liveness.proof import Proofs
from facerec.services.liveness.sessions import LivenessSessions
from facerec.services.registry.importing import PersonImports
from facerec.services.registry.service import RegistryService
from facerec.services.registry.sessions import RegistrationSessions
from facerec.services.searching import SearchService
from facerec.services.videos.service import VideoService

PREFIX = "/api/v1"
"""Where everything is; the registry is at the root too."""

AT_THE_ROOT = ("/register", "/verify", "/identify", "/persons", "/faces", "/registrations")
"""First parts of the registry's paths, which are answered without the prefix as well."""

DESCRIPTION = """\
Self-hosted face recognition. An image is a file of a form, base64 in JSON, or an address:
`s3://bucket/key`, or `https://` of an allowed host. None is kept.

Every error has the form of `ErrorBody`. A threshold is a similarity on Rekognition's scale of 0 to 100,
on which 80 is the model pack's working point; up to 1 it is a share of it: 0.8 is 80."""

TAGS = {
    "images": "Images that nothing is kept of.",
    "collections": "Sets of faces, the same that AWS clients see.",
    "faces": "Faces of a collection: stored from images, and searched.",
    "face-recognition": "Images in S3, by bucket and key.",
    "persons": "The registry of persons: enrolled from pictures, and known again.",
    "person-imports": "Many persons by a manifest, enrolled in the background; and all of them read.",
    "registrations": "Persons enrolled frame by frame.",
    "liveness": "Whether a living person is before the camera: movements asked at random.",
    "albums": "Photographs by reference: indexed in the background, searched by a selfie.",
    "album-people": "Who is in an album: found without being told, and corrected by whoever knows them.",
    "imports": "Many images by a manifest.",
    "videos": "Who is in a film, and when.",
    "caller": "Whose key it is.",
    "keys": "Who may come in, and what each may do.",
    "audit": "Who enrolled, searched and deleted whom.",
    "jobs": "The queue of what is done in the background.",
    "settings": "What the service was started with.",
    "model": "What recognises, and how well.",
}
"""What groups of routes are about."""

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
    def engine(self) -> Engine:
        """What recognises."""

    @property
    def keys(self) -> KeyService:
        """The keys that there are."""

    @property
    def jobs(self) -> JobQueue:
        """What waits for workers."""

    @property
    def collections(self) -> CollectionService:
        """Use cases of collections."""

    @property
    def faces(self) -> FaceService:
        """Use cases of a collection's faces."""

    @property
    def searches(self) -> SearchService:
        """Searches for every face of an image, or for an embedding."""

    @property
    def analysis(self) -> AnalysisService:
        """Use cases that store nothing."""

    @property
    def audit(self) -> AuditLog:
        """Where it is written who did what."""

    @property
    def registry(self) -> RegistryService:
        """Use cases of persons."""

    @property
    def person_imports(self) -> PersonImports:
        """Use cases of imports of persons."""

    @property
    def registrations(self) -> RegistrationSessions:
        """Registration sessions."""

    @property
    def liveness(self) -> LivenessSessions:
        """Sessions of active liveness."""

    @property
    def proofs(self) -> Proofs:
        """Liveness sessions as proofs."""

    @property
    def albums(self) -> AlbumUseCases:
        """Use cases of albums and imports."""

    @property
    def videos(self) -> VideoService:
        """Use cases of videos."""


def create_rest(service: Service, *, threads: int) -> FastAPI:
    """The application, whose routes are without the prefix. threads: most requests at work at once."""
    settings = service.settings

    def caller(request: Request, key: Annotated[str | None, Security(API_KEY)]) -> None:
        """Let in who may come in, and may do this.

        Raises AccessDenied and its kinds, RateExceeded, WaitedTooLong.
        """
        note_thread()
        context = current_request()
        context.operation = operation_id(request.scope["route"])
        context.check()
        route = request.scope["route"].path
        if route in WITHOUT_KEY:
            return
        found = service.gate.by_api_key(key, host=request.headers.get("host", ""))
        check(found, request.method, route, request.path_params, registry=settings.registry_collection)

    # Pictures in a form are kept in memory, which the bound on a body allows for, and never on the disk.
    MultiPartParser.spool_max_size = settings.max_body_bytes + 1
    app = FastAPI(
        title="facerec",
        version=facerec.__version__,
        description=DESCRIPTION,
        license_info={"name": "MIT", "identifier": "MIT"},
        openapi_tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        generate_unique_id_function=operation_id,
        servers=[{"url": PREFIX}],
        root_path_in_servers=False,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(caller)],
        middleware=[
            Middleware(Audited, log=service.audit, registry=service.settings.registry_collection),
            Middleware(
                Admission,
                bounds=Bounds(
                    body=settings.max_body_bytes,
                    larger={f"{VIDEOS}/upload": settings.max_video_bytes},
                    present=settings.max_queue,
                    threads=threads,
                ),
            ),
        ],
        telemetry={"tracing": False, "metrics": False, "logs": False},
        responses={status: {"model": ErrorBody} for status in ("4XX", "5XX", 422)},
        exception_handlers={
            FacerecError: answer_error,
            OSError: answer_error,
            Refused: answer_refusal,
            RequestValidationError: answer_invalid,
            HTTPException: answer_http,
            Exception: answer_error,
        },
    )
    _add_routes(app, service)
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    settings = service.settings
    threshold = settings.similarity_threshold
    app.include_router(images_router(service.analysis, threshold=threshold))
    app.include_router(collections_router(service.collections, service.faces))
    app.include_router(faces_router(service.faces, service.searches, threshold=threshold))
    app.include_router(face_recognition_router(service.faces, settings))
    app.include_router(persons_router(service.registry, service.proofs))
    app.include_router(person_imports_router(service.person_imports, service.registry))
    app.include_router(registrations_router(service.registrations, service.proofs))
    app.include_router(liveness_router(service.liveness, settings.allowed_origins))
    app.include_router(albums_router(service.albums))
    app.include_router(album_people_router(service.albums.people))
    app.include_router(imports_router(service.albums))
    app.include_router(videos_router(service.videos, max_bytes=settings.max_video_bytes))
    app.include_router(caller_router(settings.registry_collection))
    app.include_router(keys_router(service.keys))
    app.include_router(audit_router(service.audit))
    app.include_router(jobs_router(service.jobs))
    app.include_router(settings_router(settings))
    app.include_router(model_router(service.engine, settings))
    app.router.routes += docs_routes()


def operation_id(route: APIRoute) -> str:
    """The name of a route's operation, which generated clients call their methods by."""
    return f"{route.tags[0]}_{route.name}".replace("-", "_")


def at_the_root(path: str) -> bool:
    """Whether a path without the prefix is one of the registry's."""
    return any(path == first or path.startswith(f"{first}/") for first in AT_THE_ROOT)
