"""Images over HTTP that nothing is kept of: faces detected, embedded, compared."""

from __future__ import annotations

from fastapi import APIRouter

from facerec.api.rest.face_models import (
    CompareResponse,
    DetectedFaceModel,
    DetectResponse,
    EmbedResponse,
)
from facerec.api.rest.face_requests import CompareRequest, DetectRequest, EmbedRequest, threshold_of
from facerec.api.rest.forms import FILE, FLAG, NUMBER, TEXT, WHOLE, FormRoute, form_of, image_of
from facerec.domain import ALL_ATTRIBUTES
from facerec.services.analysis import AnalysisService

DETECT_FORM = form_of(("file",), file=FILE, attributes=FLAG)
EMBED_FORM = form_of(("file",), file=FILE, max_faces=WHOLE)
COMPARE_FORM = form_of(
    ("source", "target"), source=FILE, target=FILE, similarity_threshold=NUMBER, quality_filter=TEXT
)


def images_router(analysis: AnalysisService, *, threshold: float | None) -> APIRouter:
    """The routes of images. threshold: where a request names none."""
    router = APIRouter(route_class=FormRoute, tags=["images"])

    @router.post("/detect-faces", openapi_extra=DETECT_FORM)
    def detect_faces(body: DetectRequest) -> DetectResponse:
        """The faces of an image, with their quality, pose and landmarks."""
        wanted = ALL_ATTRIBUTES if body.attributes else frozenset[str]()
        found = analysis.detect(image_of(body.image, "image"), wanted)
        return DetectResponse(faces=[DetectedFaceModel.of(face) for face in found])

    @router.post("/embed-faces", openapi_extra=EMBED_FORM)
    def embed_faces(body: EmbedRequest) -> EmbedResponse:
        """The embeddings of an image's faces, which `search-by-embedding` takes. Treat them as the face."""
        found = analysis.embed(image_of(body.image, "image"), limit=body.max_faces)
        return EmbedResponse.of(found)

    @router.post("/compare-faces", openapi_extra=COMPARE_FORM)
    def compare_faces(body: CompareRequest) -> CompareResponse:
        """Compare the largest face of one image with every face of another."""
        found = analysis.compare(
            image_of(body.source, "source"),
            image_of(body.target, "target"),
            threshold=threshold_of(body.similarity_threshold, threshold),
            quality_filter=body.quality_filter,
        )
        return CompareResponse.of(found)

    return router
