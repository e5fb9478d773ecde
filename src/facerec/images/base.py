"""How the use cases get an image's bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from facerec.domain import ImageReference

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


class ObjectLister(Protocol):
    """Lists the objects of a prefix in S3, page by page."""

    def page(self, bucket: str, prefix: str, *, after: str) -> ObjectPage:
        """Up to a thousand keys after `after`. Raises InvalidS3Object, S3Unavailable."""
