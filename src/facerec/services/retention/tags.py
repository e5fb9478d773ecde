"""The tags by which any AWS client says how long a collection keeps its faces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from facerec.config import parse_duration
from facerec.db import Connection
from facerec.domain import Collection
from facerec.errors import InvalidParameter
from facerec.metastore import expiry

RESERVED = "facerec:"
"""What the keys of tags begin with that mean something to the service; no others of them can be set."""

FACE_TTL = "facerec:face-ttl"
"""Key of the tag with a collection's time to live, such as 30d; without it the service's default holds."""


def follow_tags(connection: Connection, collection: Collection, tags: Mapping[str, str]) -> None:
    """Do what reserved tags say that are being set. Raises InvalidParameter for unknown keys and values."""
    for key, value in tags.items():
        if key == FACE_TTL:
            try:
                expiry.set_face_ttl(connection, collection, parse_duration(value))
            except ValueError as error:
                raise InvalidParameter(f"The value of the tag {FACE_TTL} is wrong: {error}.") from error
        elif key.lower().startswith(RESERVED):
            raise InvalidParameter(
                f"The tag key {key} is reserved: of those that begin with {RESERVED} the service knows "
                f"{FACE_TTL} alone."
            )


def unfollow_tags(connection: Connection, collection: Collection, keys: Iterable[str]) -> None:
    """Take back what reserved tags said that are being removed."""
    if FACE_TTL in set(keys):
        expiry.set_face_ttl(connection, collection, None)
