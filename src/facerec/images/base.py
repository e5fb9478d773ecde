"""How the use cases get an image's bytes."""

from __future__ import annotations

from typing import Protocol

from facerec.domain import ImageReference


class ImageLoader(Protocol):
    """Fetches encoded images within the limits on bytes. Keeps none."""

    def load(self, reference: ImageReference) -> bytes:
        """The encoded bytes. Raises ImageTooLarge, InvalidImage (empty), InvalidS3Object, InvalidImageUrl."""
