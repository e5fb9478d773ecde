"""Faces of collections over HTTP: indexed and searched."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter

from facerec.api.rest.face_models import (
    IndexResponse,
    SearchAllResponse,
    SearchedFaceModel,
    SearchResponse,
)
from facerec.api.rest.face_requests import (
    CollectionId,
    FaceId,
    IndexRequest,
    SearchAllRequest,
    SearchEmbeddingRequest,
    SearchRequest,
    SearchStoredRequest,
    threshold_of,
)
from facerec.api.rest.forms import FILE, FILTER, FLAG, NUMBER, TEXT, WHOLE, FormRoute, form_of, image_of
from facerec.domain import ALL_ATTRIBUTES, FaceMatch
from facerec.observability import current_request
from facerec.services.faces import FaceService, IndexResult
from facerec.services.searching import SearchService

INDEX_FORM = form_of(
    ("file",),
    file=FILE,
    external_image_id=TEXT,
    max_faces=WHOLE,
    quality_filter=FILTER,
    attributes=FLAG,
    expires_in=WHOLE,
)
SEARCH_FORM = form_of(
    ("file",), file=FILE, similarity_threshold=NUMBER, max_faces=WHOLE, quality_filter=FILTER
)
SEARCH_ALL_FORM = form_of(
    ("file",),
    file=FILE,
    similarity_threshold=NUMBER,
    max_faces=WHOLE,
    max_searched=WHOLE,
    quality_filter=FILTER,
)


def faces_router(faces: FaceService, searches: SearchService, *, threshold: float | None) -> APIRouter:
    """The routes of faces. threshold: where a request names none."""
    router = APIRouter(route_class=FormRoute, prefix="/collections/{collection_id}", tags=["faces"])

    @router.post("/index-faces", openapi_extra=INDEX_FORM)
    def index_faces(collection_id: CollectionId, body: IndexRequest) -> IndexResponse:
        """Store the faces of an image. The image itself is not kept.

        The same image with the same `external_image_id` gives the same faces again, so a call may be
        repeated.
        """
        result = faces.index(
            collection_id,
            image_of(body.image, "image"),
            external_image_id=body.external_image_id,
            max_faces=body.max_faces,
            quality_filter=body.quality_filter,
            attributes=ALL_ATTRIBUTES if body.attributes else frozenset(),
            expires_in=body.expires_in,
        )
        note_indexed(result)
        return IndexResponse.of(result)

    @router.post("/search-faces", openapi_extra=SEARCH_FORM)
    def search_faces(collection_id: CollectionId, body: SearchRequest) -> SearchResponse:
        """The faces of a collection that are like the largest face of an image."""
        found = faces.search_by_image(
            collection_id,
            image_of(body.image, "image"),
            limit=body.max_faces,
            threshold=threshold_of(body.similarity_threshold, threshold),
            quality_filter=body.quality_filter,
        )
        note_found(found.matches)
        return SearchResponse.of(found)

    @router.post("/search-all-faces", openapi_extra=SEARCH_ALL_FORM)
    def search_all_faces(collection_id: CollectionId, body: SearchAllRequest) -> SearchAllResponse:
        """Look for every face of an image, in one call. An image without a face gives an empty list."""
        found = searches.every_face(
            collection_id,
            image_of(body.image, "image"),
            most=body.max_searched,
            limit=body.max_faces,
            threshold=threshold_of(body.similarity_threshold, threshold),
            quality_filter=body.quality_filter,
        )
        for one in found:
            note_found(one.matches)
        return SearchAllResponse(faces=[SearchedFaceModel.of(one) for one in found])

    @router.post("/search-by-embedding")
    def search_by_embedding(collection_id: CollectionId, body: SearchEmbeddingRequest) -> SearchResponse:
        """The faces of a collection that are like an embedding, which has to be of the collection's model."""
        found = searches.by_embedding(
            collection_id,
            body.embedding,
            body.contract_id,
            limit=body.max_faces,
            threshold=threshold_of(body.similarity_threshold, threshold),
        )
        note_found(found.matches)
        return SearchResponse.of(found)

    @router.post("/faces/{face_id}/search")
    def search_stored(
        collection_id: CollectionId, face_id: FaceId, body: SearchStoredRequest
    ) -> SearchResponse:
        """The faces of a collection that are like a stored one, which is not among them."""
        found = faces.search(
            collection_id,
            face_id,
            limit=body.max_faces,
            threshold=threshold_of(body.similarity_threshold, threshold),
        )
        note_found(found.matches)
        return SearchResponse.of(found)

    return router


def note_indexed(result: IndexResult) -> None:
    """Tell the audit log what was stored."""
    request = current_request()
    request.faces.extend(one.face.face_id for one in result.indexed)
    names = (one.face.external_image_id for one in result.indexed)
    request.people.extend(name for name in names if name is not None)


def note_found(matches: Iterable[FaceMatch]) -> None:
    """Tell the audit log whom a search has found."""
    current_request().faces.extend(match.face.face_id for match in matches)
