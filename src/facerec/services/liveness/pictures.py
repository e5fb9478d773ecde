"""Pictures of a liveness session: the frame that ended it, and frames of its movements, where they were asked
for. They go to S3, or stay in the session store for as long as a session may last; nowhere else."""

from __future__ import annotations

import io

from PIL import Image

from facerec.engine.base import FoundFace, Picture
from facerec.images.base import ObjectWriter
from facerec.services.liveness.records import KeptPicture, LivenessSession
from facerec.sessions.base import SessionStore

KIND = "liveness-picture"
"""Kind of the entries in the session store."""

MOST_BYTES = 204_800
"""Most bytes of a picture that Rekognition's answer may hold."""

KEPT_SECONDS = 180.0
"""How long a picture is kept beside its session."""

JPEG = b"\xff\xd8\xff"
SHRINK = 0.8


class SessionPictures:
    """Keeps and gives out the pictures of sessions. Safe to call from many threads."""

    def __init__(self, store: SessionStore, objects: ObjectWriter) -> None:
        self._store = store
        self._objects = objects

    def keep(
        self, session: LivenessSession, name: str, data: bytes, picture: Picture, found: FoundFace
    ) -> KeptPicture:
        """Keep a frame under a name of its session's: `reference`, `audit-image-0`.

        Raises InvalidS3Object, S3Unavailable, SessionStoreUnavailable.
        """
        output, encoded = session.wishes.output, jpeg_of(data, picture)
        if output is None:
            key = f"{session.session_id}/{name}"
            self._store.put(KIND, key, encoded, seconds=KEPT_SECONDS)
            return KeptPicture(name=key, bucket=None, box=found.face.box)
        key = f"{output.prefix}{session.session_id}/{name}.jpg"
        self._objects.write(output.bucket, key, encoded, media_type="image/jpeg", kms_key=output.kms_key)
        return KeptPicture(name=key, bucket=output.bucket, box=found.face.box)

    def load(self, kept: KeptPicture) -> bytes | None:
        """A picture kept beside its session; None where it is in S3, or its time is over."""
        return None if kept.bucket is not None else self._store.get(KIND, kept.name)


def jpeg_of(data: bytes, picture: Picture) -> bytes:
    """A frame as a JPEG of at most `MOST_BYTES`: as it came, where it is one."""
    if data.startswith(JPEG) and len(data) <= MOST_BYTES:
        return data
    image = Image.fromarray(picture.pixels)
    while True:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=90)
        if stream.tell() <= MOST_BYTES:
            return stream.getvalue()
        image = image.resize((max(int(image.width * SHRINK), 1), max(int(image.height * SHRINK), 1)))
