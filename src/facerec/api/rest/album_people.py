"""The people of an album over HTTP: who is in it, their photos, and what is said about them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, status

from facerec.api.rest.album_models import AlbumId
from facerec.api.rest.album_people_models import (
    AlbumPeoplePage,
    AlbumPersonModel,
    FacesRequest,
    MergeRequest,
    PersonPhotoModel,
    PersonPhotosPage,
    UpdateAlbumPersonRequest,
    Uuid,
)
from facerec.services.albums.people import LARGEST_PAGE, AlbumPeople

Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE)]
Token = Annotated[str | None, Query(max_length=255)]


def album_people_router(people: AlbumPeople) -> APIRouter:
    """The routes of the people of an album."""
    router = APIRouter(prefix="/albums/{album_id}/people", tags=["album-people"])
    _add_readings(router, people)
    _add_changes(router, people)
    return router


def _add_readings(router: APIRouter, people: AlbumPeople) -> None:
    @router.get("")
    def list_people(
        album_id: AlbumId,
        min_photos: Annotated[int, Query(ge=1, description="Photos that they are in at least.")] = 1,
        hidden: Annotated[bool, Query(description="Hidden people too.")] = False,
        limit: Limit = 100,
        next_token: Token = None,
    ) -> AlbumPeoplePage:
        """Who is in the album, those in most photos first, a page at a time. Nobody was told who is who."""
        return AlbumPeoplePage.of(
            people.list(album_id, least=min_photos, hidden=hidden, limit=limit, token=next_token)
        )

    @router.get("/{person_id}")
    def look_up(album_id: AlbumId, person_id: Uuid) -> AlbumPersonModel:
        """A person of the album."""
        return AlbumPersonModel.of(people.get(album_id, person_id))

    @router.get("/{person_id}/photos")
    def photos(
        album_id: AlbumId, person_id: Uuid, limit: Limit = 100, next_token: Token = None
    ) -> PersonPhotosPage:
        """The photos of a person, with the face in each, a page at a time."""
        page = people.photos(album_id, person_id, limit=limit, token=next_token)
        return PersonPhotosPage(
            photos=[PersonPhotoModel.of(each) for each in page.items], next_token=page.next_token
        )


def _add_changes(router: APIRouter, people: AlbumPeople) -> None:
    @router.patch("/{person_id}")
    def update(album_id: AlbumId, person_id: Uuid, body: UpdateAlbumPersonRequest) -> AlbumPersonModel:
        """Name a person, hide or show them."""
        return AlbumPersonModel.of(
            people.update(album_id, person_id, name=body.name, hidden=body.hidden, version=body.version)
        )

    @router.post("/merge")
    def merge(album_id: AlbumId, body: MergeRequest) -> AlbumPersonModel:
        """Make several people one. Who are in one photo together are refused (409)."""
        return AlbumPersonModel.of(people.merge(album_id, body.person_ids))

    @router.post("/recluster", status_code=status.HTTP_202_ACCEPTED)
    def recluster(album_id: AlbumId) -> None:
        """Have everybody grouped anew of whom nobody has said anything. Names and what was said stay."""
        people.regroup(album_id)

    @router.post("/{person_id}/split", status_code=status.HTTP_201_CREATED)
    def split(album_id: AlbumId, person_id: Uuid, body: FacesRequest) -> AlbumPersonModel:
        """Make some faces of a person, not all, a person of their own, and answer that one."""
        return AlbumPersonModel.of(people.split(album_id, person_id, body.face_ids))

    @router.post("/{person_id}/not", status_code=status.HTTP_204_NO_CONTENT)
    def reject(album_id: AlbumId, person_id: Uuid, body: FacesRequest) -> None:
        """Say that faces are not this person: they are taken, and never given back."""
        people.reject(album_id, person_id, body.face_ids)
