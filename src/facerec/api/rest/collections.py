"""Collections over HTTP, and what is kept of their faces: made, listed, looked up, deleted."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, status

from facerec.access import ANYBODY
from facerec.api.rest.face_models import (
    CollectionModel,
    CollectionPage,
    DeletionModel,
    StoredFaceModel,
    StoredFacePage,
)
from facerec.api.rest.face_requests import CollectionId, CreateCollectionRequest, DeleteFacesRequest, FaceId
from facerec.errors import FaceNotInCollection
from facerec.observability import current_request
from facerec.services.collections import CollectionService
from facerec.services.faces import FaceService

Limit = Annotated[int, Query(ge=1, le=1000)]
NextToken = Annotated[str | None, Query(max_length=255)]


def collections_router(collections: CollectionService, faces: FaceService) -> APIRouter:
    """The routes of collections and their faces."""
    router = APIRouter(prefix="/collections", tags=["collections"])
    _add_collection_routes(router, collections)
    _add_face_routes(router, faces)
    return router


def _add_collection_routes(router: APIRouter, collections: CollectionService) -> None:
    @router.post("", status_code=status.HTTP_201_CREATED)
    def create(body: CreateCollectionRequest) -> CollectionModel:
        """Make an empty collection, for the embeddings of the model that the service runs."""
        current_request().collection = body.collection_id
        return CollectionModel.of(collections.create(body.collection_id, body.tags))

    @router.get("")
    def list_collections(limit: Limit = 100, next_token: NextToken = None) -> CollectionPage:
        """The collections that the key is for, oldest first, a page at a time."""
        page = collections.list(limit=limit, token=next_token)
        caller = current_request().caller or ANYBODY
        shown = [CollectionModel.of(one) for one in page.items if caller.reaches(one.name)]
        return CollectionPage(collections=shown, next_token=page.next_token)

    @router.get("/{collection_id}")
    def describe(collection_id: CollectionId) -> CollectionModel:
        """How many faces and users a collection has, and of which model."""
        return CollectionModel.of(collections.describe(collection_id))

    @router.delete("/{collection_id}", status_code=status.HTTP_204_NO_CONTENT)
    def delete(collection_id: CollectionId) -> None:
        """Delete a collection with all its faces and users."""
        collections.delete(collection_id)


def _add_face_routes(router: APIRouter, faces: FaceService) -> None:
    @router.get("/{collection_id}/faces")
    def list_faces(
        collection_id: CollectionId,
        limit: Limit = 100,
        next_token: NextToken = None,
        user_id: Annotated[str | None, Query(min_length=1, max_length=128)] = None,
    ) -> StoredFacePage:
        """The faces of a collection, or of one user of it, oldest first, a page at a time."""
        page = faces.list(collection_id, limit=limit, token=next_token, user_id=user_id).page
        return StoredFacePage(
            faces=[StoredFaceModel.of(face) for face in page.items], next_token=page.next_token
        )

    @router.get("/{collection_id}/faces/{face_id}")
    def face(collection_id: CollectionId, face_id: FaceId) -> StoredFaceModel:
        """What is kept of a face, its embedding apart."""
        found = faces.list(collection_id, face_ids=[face_id]).page.items
        if not found:
            raise FaceNotInCollection
        return StoredFaceModel.of(found[0])

    @router.post("/{collection_id}/delete-faces")
    def delete_faces(collection_id: CollectionId, body: DeleteFacesRequest) -> DeletionModel:
        """Delete faces. One that is not there, or is a user's, is told, and stops no other."""
        current_request().faces.extend(body.face_ids)
        return DeletionModel.of(faces.delete(collection_id, body.face_ids))
