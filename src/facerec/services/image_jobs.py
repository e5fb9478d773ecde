"""The job of one image, wherever it lies: index its faces into a collection."""

from __future__ import annotations

from facerec.domain import S3Image, UrlImage
from facerec.errors import ConfigurationError, InvalidParameter
from facerec.jobs.base import Job, NewJob, Priority
from facerec.jobs.s3_events import CreatedObject
from facerec.observability import current_request
from facerec.services.albums.sources import is_image_name, new_image, parse_source, s3_image
from facerec.services.askers import WORKER
from facerec.services.audit import Act, AuditLog
from facerec.services.external_ids import EXTERNAL_ID
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


class S3EventRules:
    """Into which collection an object is indexed that S3 tells of."""

    def __init__(self, rules: str | None) -> None:
        """rules: a collection, or prefix=collection with commas between. Raises ConfigurationError."""
        self._rules: list[tuple[str, str]] = []
        for each in (rules or "").split(","):
            prefix, equals, collection = each.strip().rpartition("=")
            if collection or equals:
                if EXTERNAL_ID.fullmatch(collection) is None:
                    raise ConfigurationError(
                        f"FACEREC_S3_EVENTS_COLLECTION has the rule {each[:80]!r}: not prefix=collection"
                    )
                self._rules.append((prefix, collection))
        self._rules.sort(key=lambda rule: len(rule[0]), reverse=True)

    def job(self, created: CreatedObject) -> NewJob | None:
        """The job of an object; None for one that is no image by its name. ValueError without a rule."""
        if not is_image_name(created.key):
            return None
        for prefix, collection in self._rules:
            if created.key.startswith(prefix):
                try:
                    return index_image_job(collection, s3_image(created.bucket, created.key, created.version))
                except InvalidParameter as error:
                    raise ValueError(error.message) from error
        raise ValueError("No rule of FACEREC_S3_EVENTS_COLLECTION tells where S3's objects of this key go.")


class ImageJobs:
    """Does the jobs of single images. Safe to call from many threads."""

    def __init__(self, faces: FaceService, audit: AuditLog) -> None:
        self._faces = faces
        self._audit = audit

    def index(self, job: Job) -> None:
        """Index the faces of the image. Done again it finds them by image and external id, and stores none.

        Raises InvalidParameter for a payload that `index_image_job` did not make, and as `FaceService.index`.
        """
        collection, source, external_id = (
            job.payload.get(name) for name in ("collection", "source", "external_id")
        )
        if not isinstance(collection, str) or not isinstance(source, str) or not isinstance(external_id, str):
            raise InvalidParameter("The job names no image and collection.")
        request = current_request()
        request.collection = collection
        request.people.append(external_id)
        with self._audit.writing(request, act=Act.CHANGE, door=WORKER, operation=job.kind):
            result = self._faces.index(collection, parse_source(source), external_image_id=external_id)
            request.faces += [one.face.face_id for one in result.indexed]
