"""What the blocks of an export hold that are no rows: values as JSON.

What is read comes from a file that anybody may have written: every value is checked for what the database,
the index and the doors rely on, and an error says which one is wrong.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from facerec.access import AccessKey, KeyKind, Scope, parse_collections, parse_rate
from facerec.errors import UnreadableFile
from facerec.services.transfer.container import Block, encode_json

T = TypeVar("T")

LARGEST_DIMENSION = 8192

LATEST = 1e11
"""Seconds since the epoch, the year 5138: later moments no calendar of ours writes."""

_MAX_NAME = 255
_MAX_TAGS, _MAX_TAG_NAME, _MAX_TAG_VALUE = 200, 128, 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The first block: which export this is."""

    store_id: str
    """Identity of the database that it was made from."""
    facerec: str
    """Version of the program that wrote it."""
    keys: bool
    """Whether access keys are in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionHead:
    """What a collection is, before its users and faces."""

    name: str
    created_at: float
    pack: str
    contract_id: str
    model_version: str
    dimension: int
    user_count: int
    face_count: int
    change_number: int
    """In the database that it was exported from: the same number there means the same faces."""
    face_ttl: int | None
    """Seconds that a face without an end of its own is kept; None: the service's default."""
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The last block: what has to have come before it."""

    as_of: float
    """Moment of the snapshot, in seconds since the epoch."""
    collections: int
    users: int
    faces: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedKey:
    """An access key, its secret sealed with the master key of the service it comes from."""

    access_key_id: str
    label: str
    created_at: float
    revoked_at: float | None
    sealed_secret: str
    """In hexadecimal digits. The secret from before a rotation stays where it was."""
    kind: str
    scope: str
    collections: list[str]
    rate: str | None
    expires_at: float | None

    @property
    def key(self) -> AccessKey:
        """The key without its secret."""
        return AccessKey(
            access_key_id=self.access_key_id,
            label=self.label,
            kind=KeyKind(self.kind),
            scope=Scope(self.scope),
            collections=parse_collections(self.collections),
            rate=None if self.rate is None else parse_rate(self.rate),
            created_at=self.created_at,
            expires_at=self.expires_at,
            revoked_at=self.revoked_at,
        )


def encode_value(value: Head | CollectionHead | End) -> bytes:
    """A value as the content of a block."""
    return encode_json(asdict(value))


def encode_keys(keys: Sequence[SealedKey]) -> bytes:
    """Access keys as the content of a block."""
    return encode_json([asdict(key) for key in keys])


class ContentError(ValueError):
    """A value of a block is none that the format allows."""


def decode(read: Callable[[bytes], T], block: Block, name: str) -> T:
    """What `read` makes of the block. Raises UnreadableFile that names file and place."""
    try:
        return read(block.content)
    except (ValueError, TypeError, KeyError, struct.error, RecursionError) as error:
        reason = error if isinstance(error, ContentError) else f"{type(error).__name__}: {error}"
        raise UnreadableFile(
            f"{name} holds, at byte {block.offset} (block {block.number}, {block.kind}), what no export of "
            f"facerec holds: {reason}. Nothing of this block is taken."
        ) from error


# --- values


def decode_head(content: bytes) -> Head:
    """The first block's value. This, as all of `decode_*`, raises what `decode` turns into UnreadableFile."""
    values = json_object(content)
    return Head(
        store_id=_text(values, "store_id", 255),
        facerec=_text(values, "facerec", 64),
        keys=bool(values["keys"]),
    )


def decode_collection(content: bytes) -> CollectionHead:
    """What a collection is."""
    values = json_object(content)
    tags = values["tags"]
    if not isinstance(tags, dict) or len(tags) > _MAX_TAGS:
        raise ContentError(f"tags have to be an object of at most {_MAX_TAGS} members")
    name = _text(values, "name", _MAX_NAME)
    if name.startswith("~"):
        raise ContentError(f"no collection is called {name!r}")
    return CollectionHead(
        name=name,
        created_at=_moment(values, "created_at"),
        pack=_text(values, "pack", 255),
        contract_id=_text(values, "contract_id", 255),
        model_version=_text(values, "model_version", 64),
        dimension=whole(values, "dimension", 1, LARGEST_DIMENSION),
        user_count=whole(values, "user_count", 0, 2**62),
        face_count=whole(values, "face_count", 0, 2**62),
        change_number=whole(values, "change_number", 0, 2**62),
        face_ttl=None if values["face_ttl"] is None else whole(values, "face_ttl", 0, 2**62),
        tags={
            checked_text(key, "a tag's name", _MAX_TAG_NAME): checked_text(
                value, "a tag's value", _MAX_TAG_VALUE, empty=True
            )
            for key, value in tags.items()
        },
    )


def decode_end(content: bytes) -> End:
    """The last block's value."""
    values = json_object(content)
    return End(
        as_of=_moment(values, "as_of"),
        collections=whole(values, "collections", 0, 2**62),
        users=whole(values, "users", 0, 2**62),
        faces=whole(values, "faces", 0, 2**62),
        digest=_hex(values, "digest", 64),
    )


def decode_keys(content: bytes) -> list[SealedKey]:
    """Access keys."""
    found = json.loads(content)
    if not isinstance(found, list):
        raise ContentError("access keys have to be a list")
    keys = []
    for values in found:
        revoked = values["revoked_at"]
        sealed = _text(values, "sealed_secret", 4096)
        bytes.fromhex(sealed)
        expires = values.get("expires_at")
        key = SealedKey(
            access_key_id=_text(values, "access_key_id", 128),
            label=_text(values, "label", 255, empty=True),
            created_at=_moment(values, "created_at"),
            revoked_at=None if revoked is None else _moment(values, "revoked_at"),
            sealed_secret=sealed,
            # Files of before there were limits have none of these members: such keys may do everything.
            kind=str(values.get("kind", KeyKind.AWS)),
            scope=str(values.get("scope", Scope.ADMIN)),
            collections=[str(name) for name in values.get("collections", [])],
            rate=values.get("rate"),
            expires_at=None if expires is None else _moment(values, "expires_at"),
        )
        _ = key.key  # raises ValueError for a limit that nobody could hold a request against
        keys.append(key)
    return keys


def json_object(content: bytes) -> dict[str, Any]:
    """A content that is one JSON object. Raises ContentError, ValueError."""
    values = json.loads(content)
    if not isinstance(values, dict):
        raise ContentError("an object is expected")
    return values


def _text(values: Mapping[str, Any], member: str, longest: int, *, empty: bool = False) -> str:
    return checked_text(values[member], member, longest, empty=empty)


def checked_text(value: object, what: str, longest: int, *, empty: bool = False) -> str:
    """A text that every database takes: PostgreSQL knows no zero character."""
    if not isinstance(value, str) or len(value) > longest or not (value or empty):
        raise ContentError(f"{what} has to be a text of at most {longest} characters")
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise ContentError(f"{what} has a character that no text may have")
    return value


def _hex(values: Mapping[str, Any], member: str, digits: int) -> str:
    value = _text(values, member, digits)
    if not re.fullmatch(f"[0-9a-f]{{{digits}}}", value):
        raise ContentError(f"{member} has to have {digits} hexadecimal digits")
    return value


def whole(values: Mapping[str, Any], member: str, least: int, most: int) -> int:
    """A member that is a whole number from `least` to `most`. Raises ContentError, KeyError."""
    value = values[member]
    if type(value) is not int or not least <= value <= most:
        raise ContentError(f"{member} has to be a whole number from {least} to {most}")
    return value


def _moment(values: Mapping[str, Any], member: str) -> float:
    value = values[member]
    if type(value) not in (int, float) or not 0 <= value <= LATEST:
        raise ContentError(f"{member} has to be a moment in seconds since the epoch")
    return float(value)
