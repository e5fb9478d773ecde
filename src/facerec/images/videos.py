"""Opens a video where it lies: in S3, behind a web address, or in a file of this machine."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from facerec.config import Settings
from facerec.domain import LocalImage, S3Image, UrlImage, VideoReference
from facerec.errors import ImageTooLarge, InvalidVideo, VideoTooLarge
from facerec.images.s3 import S3Source
from facerec.images.s3_file import BlockFile
from facerec.images.url import UrlSource


class VideoSource:
    """Opens videos of every kind of reference, up to a number of bytes. Safe to call from many threads."""

    def __init__(self, *, s3: S3Source, urls: UrlSource, max_bytes: int, folder: Path) -> None:
        """folder: where the bytes from a web address lie while they are looked at, without a name."""
        self._s3 = s3
        self._urls = urls
        self._max_bytes = max_bytes
        self._folder = folder

    def check(self, reference: VideoReference) -> None:
        """Raise what would stand against opening it, as far as it can be told without reading it.

        Raises InvalidS3Object, InvalidImageUrl, InvalidVideo, VideoTooLarge.
        """
        match reference:
            case S3Image():
                self._check_size(self._s3.look_up(reference).size)
            case UrlImage(url):
                self._urls.check(url)
            case LocalImage(path):
                self._check_size(_size_of(path))

    @contextlib.contextmanager
    def open(self, reference: VideoReference) -> Iterator[BinaryIO]:
        """The video as a binary file that can be gone about in; closed afterwards. Raises as `check` does."""
        match reference:
            case S3Image():
                found = self._s3.look_up(reference)
                self._check_size(found.size)
                file = BlockFile(found.size, lambda start, end: self._s3.read_part(found, start, end))
                with contextlib.closing(file):
                    yield cast(BinaryIO, file)
            case UrlImage():
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=self._folder) as kept:
                    try:
                        self._urls.copy(reference, kept.write)
                    except ImageTooLarge as error:
                        raise VideoTooLarge(
                            f"The video behind the address has more than {self._max_bytes} bytes."
                        ) from error
                    kept.seek(0)
                    yield cast(BinaryIO, kept)
            case LocalImage(path):
                self._check_size(_size_of(path))
                with path.open("rb") as opened:
                    yield opened

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise VideoTooLarge(
                f"Video size in bytes: {size} is more than the maximum limit of: {self._max_bytes} bytes"
            )


def open_video_source(settings: Settings) -> VideoSource:
    """The source that the settings describe. Connects to nothing before a video is asked for."""
    return VideoSource(
        s3=S3Source(
            region=settings.s3_region or settings.aws_region,
            endpoint_url=settings.s3_endpoint_url,
            credentials=settings.aws_credentials,
            max_bytes=settings.max_video_bytes,
        ),
        urls=UrlSource(
            allowed_hosts=settings.url_allowed_hosts,
            allow_private=settings.url_allow_private,
            max_bytes=settings.max_video_bytes,
            seconds=settings.video_timeout_seconds,
            accept="video/*",
        ),
        max_bytes=settings.max_video_bytes,
        folder=settings.videos_folder,
    )


def _size_of(path: Path) -> int:
    """Bytes of a file. Raises InvalidVideo where there is none."""
    try:
        return path.stat().st_size
    except OSError as error:
        raise InvalidVideo(f"The video {path.name} is not there any more.") from error
