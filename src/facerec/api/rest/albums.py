"""Albums over HTTP: made, filled, followed, searched, cancelled, tried again and deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, File, Path, Query, UploadFile, status
from fastapi.responses import Response, StreamingResponse

from facerec.api.rest.album_models import (
    AddedModel,
    AddImagesRequest,
    AlbumId,
    AlbumModel,
    AlbumPage,
    ChangedModel,
    CreateAlbumRequest,
    FoundPhotoModel,
    ImageModel,
    ImagePage,
    ListingModel,
    PhotosModel,
    ProgressModel,
    SearchAlbumsRequest,
    State,
    UploadedModel,
)
from facerec.api.rest.forms import FILE, TEXT, FormRoute, form_of, image_of, told_as
from facerec.api.rest.permissions import reaches
from facerec.api.rest.person_models import FaceModel
from facerec.errors import AlbumNotFound, Overloaded
from facerec.services.albums.service import Added, AlbumService, AlbumState
from facerec.services.albums.uploading import Upload
from facerec.services.albums.use_cases import AlbumUseCases

SEARCH_FORM = form_of(("image",), image=FILE, album_ids=TEXT, threshold=TEXT, limit=TEXT)

MOST_FILES = 64
"""Images of one upload; the bound on a request's bytes comes on top."""

MOST_STREAMS = 100
"""Clients of a process that follow albums at once."""

PAUSE_SECONDS = 1.0
"""Between two looks at an album."""

MOST_LOOKS = 3600
"""Looks after which a stream ends; browsers then ask again by themselves."""

SILENCE = 15
"""Looks without a change after which a comment is sent, so that nobody between takes the stream for dead."""


def albums_router(albums: AlbumUseCases) -> APIRouter:
    """The routes of albums."""
    router = APIRouter(route_class=FormRoute, prefix="/albums", tags=["albums"])
    _add_album_routes(router, albums)
    _add_image_routes(router, albums)
    return router


def _add_album_routes(router: APIRouter, albums: AlbumUseCases) -> None:
    streams = Streams(albums.service)

    @router.post("", status_code=status.HTTP_201_CREATED)
    def create(body: CreateAlbumRequest) -> AlbumModel:
        """Make an empty album, and its collection of the same id, which AWS clients can search."""
        album = albums.service.create(body.album_id, title=body.title, client_token=body.client_token)
        return AlbumModel.of(album)

    @router.get("")
    def list_albums(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        next_token: Annotated[str | None, Query(max_length=255)] = None,
    ) -> AlbumPage:
        """The albums, oldest first, a page at a time."""
        page = albums.service.list(limit=limit, token=next_token)
        return AlbumPage(albums=[AlbumModel.of(each) for each in page.items], next_token=page.next_token)

    @router.post("/search", openapi_extra=SEARCH_FORM)
    def search(body: SearchAlbumsRequest) -> PhotosModel:
        """The photos, of one album, several or all that the key is for, that show the person of a selfie."""
        found = albums.search.search(
            image_of(body.image, "image"),
            body.album_ids,
            threshold=body.threshold,
            limit=body.limit,
            reaches=reaches,
        )
        return PhotosModel(
            searched_face=FaceModel.of(found.probe),
            photos=[FoundPhotoModel.of(photo) for photo in found.photos],
        )

    @router.get("/{album_id}")
    def progress(album_id: AlbumId) -> ProgressModel:
        """How far an album is: what waits, is done or has failed, how fast it goes, how long it will take."""
        return ProgressModel.of(albums.service.progress(album_id))

    @router.get(
        "/{album_id}/events", response_class=StreamingResponse, responses=told_as("text/event-stream")
    )
    async def events(album_id: AlbumId) -> StreamingResponse:
        """Progress as server-sent events, until nothing waits any more."""
        return StreamingResponse(await streams.open(album_id), media_type="text/event-stream")

    @router.post("/{album_id}/cancel")
    def cancel(album_id: AlbumId) -> ChangedModel:
        """Look at no more images. What is at work is finished."""
        return ChangedModel(images=albums.service.cancel(album_id))

    @router.post("/{album_id}/retry")
    def retry(album_id: AlbumId) -> ChangedModel:
        """Try again what has failed or was cancelled."""
        return ChangedModel(images=albums.service.retry(album_id))

    @router.delete("/{album_id}", status_code=status.HTTP_204_NO_CONTENT)
    def delete(album_id: AlbumId) -> None:
        """Delete an album with everything of it: images' rows, collection, faces."""
        albums.service.delete(album_id)


def _add_image_routes(router: APIRouter, albums: AlbumUseCases) -> None:
    @router.post("/{album_id}/images", status_code=status.HTTP_202_ACCEPTED)
    def add(album_id: AlbumId, body: AddImagesRequest) -> AddedModel:
        """Add images that lie in S3 or behind addresses; they are looked at in the background.

        The same image added again is one: a call may be repeated.
        """
        images, added, listing = body.new_images(), Added(0, 0), None
        if images:
            priority = None if body.priority is None else body.priority.meant
            added = albums.service.add(album_id, images, priority=priority)
        if body.prefix is not None:
            listing = albums.service.add_prefix(album_id, body.prefix.bucket, body.prefix.prefix)
        return AddedModel(
            new=added.new, known=added.known, listing=None if listing is None else ListingModel.of(listing)
        )

    @router.get("/{album_id}/images")
    def images(
        album_id: AlbumId,
        state: State | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        next_token: Annotated[str | None, Query(max_length=255)] = None,
    ) -> ImagePage:
        """The images of an album, a page at a time; with `state`, those in it, and why they have failed."""
        page = albums.service.images(
            album_id, state=None if state is None else state.meant, limit=limit, token=next_token
        )
        return ImagePage(images=[ImageModel.of(each) for each in page.items], next_token=page.next_token)

    @router.get("/{album_id}/images/{number}/source", response_class=Response, responses=told_as("image/*"))
    def source(album_id: AlbumId, number: Annotated[int, Path(ge=1, lt=2**31)]) -> Response:
        """An image as it lies at its source, fetched anew: a whole photo, so for keys that may write."""
        original = albums.originals.load(album_id, number)
        kind = f"image/{original.format.lower()}"
        return Response(original.data, media_type=kind, headers={"Cache-Control": "no-store"})

    uploads = APIRouter(prefix="/albums", tags=["albums"])

    @uploads.post("/{album_id}/uploads")
    def upload(
        album_id: AlbumId, files: Annotated[list[UploadFile], File(max_length=MOST_FILES)]
    ) -> list[UploadedModel]:
        """Index images that are sent; their faces are found when this is answered. None is kept."""
        sent = [Upload(file.filename or "image", file.file.read()) for file in files]
        return [UploadedModel.of(result) for result in albums.uploads.add(album_id, sent)]

    router.routes.extend(uploads.routes)


class Streams:
    """Tells clients how far albums are, as server-sent events."""

    def __init__(self, albums: AlbumService) -> None:
        self._albums = albums
        self._open = 0

    async def open(self, album_id: str) -> AsyncIterator[str]:
        """The events of an album. Raises AlbumNotFound, Overloaded where as many are open as may be."""
        if self._open >= MOST_STREAMS:
            raise Overloaded
        await run_sync(self._albums.get, album_id)
        return self._events(album_id)

    async def _events(self, album_id: str) -> AsyncIterator[str]:
        """An event for each change; it ends with the album's work, and is closed when the client has gone."""
        self._open += 1
        last, silent = "", 0
        try:
            for _ in range(MOST_LOOKS):
                progress = await run_sync(self._albums.progress, album_id)
                told = ProgressModel.of(progress).model_dump_json()
                ended = progress.state is not AlbumState.WORKING
                if ended or told != last:
                    yield f"event: {'done' if ended else 'progress'}\ndata: {told}\n\n"
                    last, silent = told, 0
                if ended:
                    return
                silent += 1
                if silent % SILENCE == 0:
                    yield ": still at work\n\n"
                await anyio.sleep(PAUSE_SECONDS)
        except AlbumNotFound:
            yield "event: deleted\ndata: {}\n\n"
        finally:
            self._open -= 1
