"""The job of one image, wherever it lies: index its faces into a collection."""

from __future__ import annotations

from facerec.domain import S3Image, UrlImage
from facerec.errors import InvalidParameter
from facerec.jobs.base import Job, NewJob, Priority
from facerec.services.albums.sources import new_image, parse_source
from facerec.services.faces import FaceService

INDEX_IMAGE_JOB = "index-image"


def index_image_job(
    collection: str,
    image: S3Image | UrlImage,
    *,
    external_id: str | None = None,
    priority: Priority = Priority.FRESH,
) -> NewJob:
    """A job that indexes an image; without an external id the image gets one that follows from its source.

    Raises InvalidParameter for an external id that Rekognition does not accept.
    """
    named = new_image(image, external_id)
    source = named.source if named.version is None else f"{named.source}?versionId={named.version}"
    return NewJob(
        kind=INDEX_IMAGE_JOB,
        payload={"collection": collection, "source": source, "external_id": named.external_id},
        priority=priority,
    )


class ImageJobs:
    """Does the jobs of single images. Safe to call from many threads."""

    def __init__(self, faces: FaceService) -> None:
        self._faces = faces

    def index(self, job: Job) -> None:
        """Index the faces of the image. Done again it finds them by image and external id, and stores none.

        Raises InvalidParameter for a payload that `index_image_job` did not make, and as `FaceService.index`.
        """
        collection, source, external_id = (
            job.payload.get(name) for name in ("collection", "source", "external_id")
        )
        if not isinstance(collection, str) or not isinstance(source, str) or not isinstance(external_id, str):
            raise InvalidParameter("The job names no image and collection.")
        self._faces.index(collection, parse_source(source), external_image_id=external_id)
