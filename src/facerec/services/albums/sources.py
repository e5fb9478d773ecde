"""Where the images of an album lie: as a request names them, and as the album's rows keep them."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from facerec.domain import ImageReference, S3Image, UrlImage
from facerec.errors import InvalidParameter
from facerec.images.base import SUFFIXES
from facerec.metastore.albums import AlbumImage, NewImage
from facerec.services.external_ids import EXTERNAL_ID, readable_id

LONGEST_KEY = 1024
"""Bytes of a key in S3."""

LONGEST_URL = 2048

UPLOAD = "upload:"
"""What the source of an image begins with that came with a request, and cannot be had again."""

_BUCKET = re.compile(r"[0-9A-Za-z.\-_]{3,63}")
_VERSION = re.compile(r"\?versionId=([^?&]{1,1024})$")


def parse_source(text: str) -> S3Image | UrlImage:
    """The image that a text names: s3://bucket/key, s3://bucket/key?versionId=ID, http(s)://host/path.

    Raises InvalidParameter that says what is wrong.
    """
    if text.startswith("s3://"):
        bucket, _, key = text.removeprefix("s3://").partition("/")
        version = _VERSION.search(key)
        if version is not None:
            return s3_image(bucket, key[: version.start()], version[1])
        return s3_image(bucket, key)
    if text.startswith(("http://", "https://")):
        if len(text) > LONGEST_URL or "\0" in text:
            raise InvalidParameter(f"An image's address has at most {LONGEST_URL} characters.")
        return UrlImage(text)
    raise InvalidParameter(
        f"{text[:80]!a} names no image: it has to be s3://bucket/key, http://... or https://..."
    )


def s3_image(bucket: str, key: str, version: str | None = None) -> S3Image:
    """An object in S3. Raises InvalidParameter for a name that none can have."""
    check_bucket(bucket)
    if not key or "\0" in key or len(key.encode("utf-8", "surrogatepass")) > LONGEST_KEY:
        raise InvalidParameter(f"A key in S3 has 1 to {LONGEST_KEY} bytes, none of them NUL.")
    if version is not None and (not version or "\0" in version or len(version) > LONGEST_KEY):
        raise InvalidParameter("The version id of the S3 object cannot be one.")
    return S3Image(bucket, key, version)


def check_bucket(bucket: str) -> None:
    """Raise InvalidParameter for a name that no bucket can have."""
    if _BUCKET.fullmatch(bucket) is None:
        raise InvalidParameter(f"{bucket[:80]!a} is no name of a bucket: 3 to 63 letters, digits and .-_")


def new_image(reference: S3Image | UrlImage, external_id: str | None = None) -> NewImage:
    """The image as an album keeps it; without an external id it gets one that follows from its source.

    Raises InvalidParameter for an external id that Rekognition does not accept.
    """
    if isinstance(reference, S3Image):
        source, version, path = f"s3://{reference.bucket}/{reference.name}", reference.version, reference.name
    else:
        source, version, path = reference.url, None, unquote(urlsplit(reference.url).path).lstrip("/")
    return NewImage(
        digest=_digest(source, version),
        source=source,
        version=version,
        external_id=checked_id(external_id) if external_id is not None else readable_id(path or source),
    )


def uploaded_image(name: str, image_id: str, external_id: str | None = None) -> NewImage:
    """An image that came with a request: the same bytes of the same name are one. Raises as `new_image`."""
    source = f"{UPLOAD}{name.replace(chr(0), '_')[:LONGEST_KEY]}"
    return NewImage(
        digest=_digest(source, image_id),
        source=source,
        version=None,
        external_id=checked_id(external_id) if external_id is not None else readable_id(name or image_id),
    )


def checked_id(external_id: str) -> str:
    """The external id. Raises InvalidParameter where Rekognition would not accept it."""
    if EXTERNAL_ID.fullmatch(external_id) is None:
        raise InvalidParameter(f"{external_id[:80]!a} is no external id: 1 to 255 letters, digits and _.-:")
    return external_id


def reference_of(image: AlbumImage) -> ImageReference | None:
    """Where the image is had; None for one that came with a request."""
    if image.source.startswith(UPLOAD):
        return None
    if image.source.startswith("s3://"):
        bucket, _, key = image.source.removeprefix("s3://").partition("/")
        return S3Image(bucket, key, image.version)
    return UrlImage(image.source)


def is_image_name(key: str) -> bool:
    """Whether a key is an image's by what it ends with."""
    return PurePosixPath(key).suffix.lower() in SUFFIXES and not key.endswith("/")


def _digest(source: str, version: str | None) -> bytes:
    content = f"{source}\0{version or ''}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(content).digest()[:16]
