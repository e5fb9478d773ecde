"""The id of an image, which is all that is kept of it."""

from __future__ import annotations

import hashlib
import uuid

IMAGE_IDS = uuid.UUID("6a1d2b4e-94c7-5c0e-8f53-27f2c9a4d7b1")
"""Namespace of image ids: an image id is the UUIDv5 of the SHA-256 of the image's bytes in it."""


def image_id_of(data: bytes) -> str:
    """The id of an image, which follows from its encoded bytes alone."""
    return str(uuid.uuid5(IMAGE_IDS, hashlib.sha256(data).hexdigest()))
