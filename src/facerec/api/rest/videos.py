"""Videos over HTTP: sent or named, how far they were looked at, and who is in them when."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, status
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from facerec.access import Scope
from facerec.api.rest.permissions import check_collection, reaches
from facerec.api.rest.person_models import Body, Threshold, ThresholdText
from facerec.api.rest.video_models import VideoJobModel, VideoList
from facerec.domain import (
    LocalImage,
    S3Image,
    UrlImage,
    VideoJob,
    VideoOperation,
    VideoReference,
    VideoState,
    VideoWish,
)
from facerec.errors import InvalidParameter, NotFound, VideoTooLarge
from facerec.services.videos.service import VideoService
from facerec.services.videos.uploads import new_upload

PATH = "/videos"

Collection = Annotated[str, Query(pattern=r"^[a-zA-Z0-9_.\-]{1,255}$")]
JobId = Annotated[str, Field(pattern=r"^[a-zA-Z0-9-_]{1,64}$")]

FILM = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class VideoRequest(Body):
    """A video that lies elsewhere, and where its faces are looked for."""

    video: str = Field(max_length=2048, description="s3://bucket/key, or the web address of an allowed host.")
    collection: str = Field(pattern=r"^[a-zA-Z0-9_.\-]{1,255}$")
    threshold: Threshold = 80.0
    client_token: str | None = Field(
        None, pattern=r"^[a-zA-Z0-9-_]{1,64}$", description="The same token gives the same job."
    )


def videos_router(service: VideoService, *, max_bytes: int) -> APIRouter:
    """The routes of videos. max_bytes: of one that is sent."""
    router = APIRouter(tags=["videos"])

    @router.post(PATH, status_code=status.HTTP_202_ACCEPTED)
    def start(body: VideoRequest) -> VideoJobModel:
        """Have a video in S3 or behind a web address looked at."""
        check_collection(body.collection, Scope.WRITE)
        wish = _wish(_reference(body.video), body.collection, body.threshold)
        return _model(service, service.start(wish, client_token=body.client_token))

    @router.post(f"{PATH}/upload", status_code=status.HTTP_202_ACCEPTED, openapi_extra=FILM)
    async def upload(
        request: Request, collection: Collection, threshold: ThresholdText = 80.0
    ) -> VideoJobModel:
        """Send a video, as the body of the request, and have it looked at on the machine that took it.

        It is kept in a file until it was looked at, and removed then.
        """
        check_collection(collection, Scope.WRITE)
        path = new_upload(service.uploads)
        try:
            size = 0
            with path.open("xb") as file:
                path.chmod(0o600)
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > max_bytes:
                        raise VideoTooLarge(f"The video has more than {max_bytes} bytes, which is the limit.")
                    await run_in_threadpool(file.write, chunk)
            wish = _wish(LocalImage(path), collection, threshold)
            job_id = await run_in_threadpool(service.start, wish)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return await run_in_threadpool(_model, service, job_id)

    @router.get(PATH)
    def videos(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> VideoList:
        """The newest jobs, newest first, without what was found: those in collections that the key is for."""
        jobs = [job for job in service.list(limit) if reaches(job.wish.collection)]
        return VideoList(videos=[VideoJobModel.of(job) for job in jobs])

    @router.get(f"{PATH}/{{job_id}}")
    def video(job_id: JobId) -> VideoJobModel:
        """How a job stands; once it has succeeded, its persons, when they appear, and who they are."""
        return _model(service, job_id)

    @router.delete(f"{PATH}/{{job_id}}", status_code=status.HTTP_204_NO_CONTENT)
    def delete(job_id: JobId) -> None:
        """Stop a job that is at work, and remove it with all that was found."""
        _seen(service, job_id)
        service.delete(job_id)

    return router


def _wish(video: VideoReference, collection: str, threshold: float) -> VideoWish:
    return VideoWish(
        operation=VideoOperation.FACE_SEARCH, video=video, collection=collection, threshold=threshold
    )


def _reference(place: str) -> VideoReference:
    """Where a video lies. Raises InvalidParameter; a file of the service's machine is never meant."""
    if place.startswith("s3://"):
        bucket, _, key = place.removeprefix("s3://").partition("/")
        if bucket and key:
            return S3Image(bucket, key)
    if place.startswith(("http://", "https://")):
        return UrlImage(place)
    raise InvalidParameter("video has to be s3://bucket/key or a web address")


def _seen(service: VideoService, job_id: str) -> VideoJob:
    """The job. Raises NotFound, too where it is about a collection that the key is not for."""
    job = service.find(job_id)
    if not reaches(job.wish.collection):
        raise NotFound("Could not find JobId")
    return job


def _model(service: VideoService, job_id: str) -> VideoJobModel:
    job = _seen(service, job_id)
    searched = job.wish.operation is VideoOperation.FACE_SEARCH and job.state is VideoState.SUCCEEDED
    return VideoJobModel.of(job, service.appearances(job_id) if searched else None)
