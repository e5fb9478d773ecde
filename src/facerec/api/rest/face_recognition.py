"""Images in S3 over HTTP: their faces indexed, or looked for in a collection."""

from __future__ import annotations

from fastapi import APIRouter

from facerec.access import Scope
from facerec.api.rest.face_models import IndexResponse, MatchResponse, SearchResponse
from facerec.api.rest.face_requests import S3IndexRequest, S3MatchRequest, S3Request, threshold_of
from facerec.api.rest.faces import note_found, note_indexed
from facerec.api.rest.permissions import check_collection
from facerec.config import Settings
from facerec.domain import QualityFilter, S3Image
from facerec.errors import InvalidParameter
from facerec.observability import current_request
from facerec.services.albums.sources import s3_image
from facerec.services.external_ids import readable_id
from facerec.services.faces import FaceService


def face_recognition_router(faces: FaceService, settings: Settings) -> APIRouter:
    """The routes of images in S3."""
    router = APIRouter(prefix="/face-recognition", tags=["face-recognition"])

    @router.post("/index")
    def index(body: S3IndexRequest) -> IndexResponse:
        """Store the faces of an image in S3. The same object again gives the same faces."""
        check_collection(body.collection_id, Scope.WRITE)
        result = faces.index(
            body.collection_id,
            _image(body, settings),
            external_image_id=body.external_image_id or readable_id(body.key),
            max_faces=body.max_faces,
        )
        note_indexed(result)
        return IndexResponse.of(result)

    @router.post("/match")
    def match(body: S3MatchRequest) -> MatchResponse:
        """The faces of a collection that are like the largest face of an image in S3.

        With `index` that face is stored afterwards, in the same collection or another one.
        """
        kept_in = body.index_collection_id or body.collection_id
        if body.index:
            current_request().changes = True
            check_collection(kept_in, Scope.WRITE)
        check_collection(body.collection_id, Scope.READ)
        image = _image(body, settings)
        found = faces.search_by_image(
            body.collection_id,
            image,
            limit=body.max_faces,
            threshold=threshold_of(body.threshold, settings.similarity_threshold),
        )
        note_found(found.matches)
        stored = None
        if body.index:
            stored = faces.index(
                kept_in,
                image,
                external_image_id=body.external_image_id or readable_id(body.key),
                largest=True,
                quality_filter=QualityFilter.NONE,
            )
            note_indexed(stored)
        return MatchResponse(
            **dict(SearchResponse.of(found)), indexed=None if stored is None else IndexResponse.of(stored)
        )

    return router


def _image(body: S3Request, settings: Settings) -> S3Image:
    """The image that a request names. Raises InvalidParameter."""
    bucket = body.bucket if body.bucket is not None else settings.s3_bucket
    if bucket is None:
        raise InvalidParameter("The request names no bucket, and the setting AWS_S3_BUCKET none either.")
    return s3_image(bucket, body.key, body.version)
