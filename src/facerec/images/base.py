"""How the use cases get an image's bytes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from facerec.domain import ImageReference, S3Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
"""What the names of images end with."""


class ImageLoader(Protocol):
    """Fetches encoded images within the limits on bytes. Keeps none."""

    def load(self, reference: ImageReference) -> bytes:
        """The encoded bytes. Raises ImageTooLarge, InvalidImage (empty), InvalidS3Object, InvalidImageUrl."""


@dataclass(frozen=True, slots=True)
class ObjectPage:
    """Some objects of a prefix in S3, in the order of their keys."""

    keys: Sequence[str]
    last: str | None
    """The key that the next page begins after; None on the last page."""


class ObjectStore(Protocol):
    """Lists the objects of a prefix in S3, page by page, and reads those that are no images."""

    def page(self, bucket: str, prefix: str, *, after: str) -> ObjectPage:
        """Up to a thousand keys after `after`. Raises InvalidS3Object, S3Unavailable."""

    def open(self, reference: S3Image) -> AbstractContextManager[BinaryIO]:
        """An object as a file, read piece by piece. Raises InvalidS3Object, Overloaded (also in reading)."""


class ObjectWriter(Protocol):
    """Writes objects to S3."""

    def write(self, bucket: str, key: str, data: bytes, *, media_type: str, kms_key: str | None) -> None:
        """Write an object, in place of any of that key; kms_key: that S3 seals it with. Raises
        InvalidS3Object, S3Unavailable."""
