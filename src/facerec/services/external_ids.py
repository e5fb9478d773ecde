"""External image ids that are made of where an image lies."""

from __future__ import annotations

import hashlib
import re

MAX_EXTERNAL_ID = 255
"""Characters that Rekognition allows in an external image id."""

EXTERNAL_ID = re.compile(r"[a-zA-Z0-9_.\-:]{1,255}")
"""What Rekognition accepts."""


def readable_id(path: str) -> str:
    """The external image id of an image, from its path in a folder or its key in S3.

    The path with ":" for "/"; where other characters than letters, digits and _.- have to give way, or the
    path is too long, a digest of the whole path follows, so that no two images get the same id.
    """
    readable = re.sub(r"[^a-zA-Z0-9_.\-:]", "_", path.replace(":", "\0").replace("/", ":"))
    if readable == path.replace("/", ":") and ":" not in path and len(readable) <= MAX_EXTERNAL_ID:
        return readable
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"{readable[: MAX_EXTERNAL_ID - 17]}.{digest}"
