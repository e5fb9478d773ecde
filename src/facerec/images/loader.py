"""Turns a reference to an image into its encoded bytes, within the limits."""

from __future__ import annotations

from pathlib import Path

from facerec.config import THREADS_PER_PROCESSOR, Settings
from facerec.domain import ImageReference, InlineImage, LocalImage, S3Image, UrlImage
from facerec.errors import ImageTooLarge, InvalidImage
from facerec.images.base import ImageLoader
from facerec.images.s3 import S3Source
from facerec.images.s3_objects import S3Objects
from facerec.images.url import UrlSource
from facerec.observability import metrics
from facerec.observability.steps import Step

_LOADS = {
    kind: (
        Step("images.load", metrics.image_seconds.labels(source)),
        metrics.images.labels(source),
        metrics.image_bytes.labels(source),
    )
    for kind, source in ((InlineImage, "bytes"), (S3Image, "s3"), (UrlImage, "url"), (LocalImage, "file"))
}
"""How loads are timed and counted, by the kind of reference."""


class ReferenceLoader:
    """Loads images of every kind of reference. Safe to call from many threads."""

    def __init__(self, *, max_image_bytes: int, s3: S3Source, urls: UrlSource) -> None:
        """`max_image_bytes` bounds images that come with a request; those elsewhere have their own bounds."""
        self._max_image_bytes = max_image_bytes
        self._s3 = s3
        self._urls = urls

    def load(self, reference: ImageReference) -> bytes:
        """The encoded bytes. Raises ImageTooLarge, InvalidImage (empty, no file), InvalidS3Object,
        InvalidImageUrl.
        """
        load, images, nbytes = _LOADS[type(reference)]
        with load():
            data = self._load(reference)
        if not data:
            raise InvalidImage("The image is empty.")
        images.inc()
        nbytes.inc(len(data))
        return data

    def _load(self, reference: ImageReference) -> bytes:
        match reference:
            case InlineImage(data):
                if len(data) > self._max_image_bytes:
                    raise ImageTooLarge(_too_large(len(data), self._max_image_bytes))
            case S3Image():
                data = self._s3.read(reference)
            case UrlImage():
                data = self._urls.read(reference)
            case LocalImage(path):
                data = self._read_file(path)
        return data

    def _read_file(self, path: Path) -> bytes:
        """Read a file, which may be as large as an image in S3."""
        limit = self._s3.max_bytes
        try:
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            raise InvalidImage(f"The file {path} can not be read: {error.strerror}.") from error
        if len(data) > limit:
            raise ImageTooLarge(f"The file {path} has more than {limit} bytes.")
        return data


def open_loader(settings: Settings) -> ImageLoader:
    """The loader that the settings describe. Connects to nothing before an image elsewhere is asked for."""
    return open_sources(settings)[0]


def open_sources(settings: Settings) -> tuple[ImageLoader, S3Objects]:
    """The loader that the settings describe, and the objects of the same S3."""
    s3 = S3Source(
        region=settings.s3_region or settings.aws_region,
        endpoint_url=settings.s3_endpoint_url,
        credentials=settings.aws_credentials,
        max_bytes=settings.max_s3_image_bytes,
        # One for each image at work: what is over is closed and opened anew for the next image.
        connections=max(settings.job_threads or 0, settings.threads * THREADS_PER_PROCESSOR),
    )
    urls = UrlSource(
        allowed_hosts=settings.url_allowed_hosts,
        allow_private=settings.url_allow_private,
        max_bytes=settings.max_url_image_bytes,
        seconds=settings.url_seconds,
    )
    loader = ReferenceLoader(max_image_bytes=settings.max_image_bytes, s3=s3, urls=urls)
    return loader, S3Objects(s3)


def _too_large(size: int, limit: int) -> str:
    """Say by how much."""
    return f"Image size is too large: {size} bytes, at most {limit} are accepted."
