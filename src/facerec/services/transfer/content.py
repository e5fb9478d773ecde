"""What the blocks of an export hold: values as JSON, users and faces in columns.

What is read comes from a file that anybody may have written: every value is checked for what the database,
the index and the doors rely on, and an error says which one is wrong.
"""

from __future__ import annotations

import json
import re
import struct
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from facerec.errors import UnreadableFile
from facerec.metastore.transfer import FaceRows, UserRows
from facerec.services.transfer.container import Block, encode_json

T = TypeVar("T")

LARGEST_DIMENSION = 8192
MOST_ROWS = 4096
"""Rows of a block as they are written."""

ROW_BYTES = 8 << 20
"""Bytes of a block's rows as they are written, at most."""

MOST_ROWS_READ = 1 << 16

_COUNT = struct.Struct("<I")
_ABSENT = 0xFFFF
"""Length of a text that is not there."""

_NEVER = -1
"""End of a face that has none of its own."""

_MAX_EXTERNAL_ID, _MAX_SOURCE, _MAX_USER_ID, _MAX_NAME = 255, 255, 128, 255
_MAX_TAGS, _MAX_TAG_NAME, _MAX_TAG_VALUE = 200, 128, 256
_MAX_TEXT_BYTES = 4  # of a character, in UTF-8
_LATEST = 1e11
"""Seconds since the epoch, the year 5138: later ones no calendar of ours writes."""


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
    """In hexadecimal digits."""


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
    values = _object(content)
    return Head(
        store_id=_text(values, "store_id", 255),
        facerec=_text(values, "facerec", 64),
        keys=bool(values["keys"]),
    )


def decode_collection(content: bytes) -> CollectionHead:
    """What a collection is."""
    values = _object(content)
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
        dimension=_whole(values, "dimension", 1, LARGEST_DIMENSION),
        user_count=_whole(values, "user_count", 0, 2**62),
        face_count=_whole(values, "face_count", 0, 2**62),
        change_number=_whole(values, "change_number", 0, 2**62),
        face_ttl=None if values["face_ttl"] is None else _whole(values, "face_ttl", 0, 2**62),
        tags={
            _checked_text(key, "a tag's name", _MAX_TAG_NAME): _checked_text(
                value, "a tag's value", _MAX_TAG_VALUE, empty=True
            )
            for key, value in tags.items()
        },
    )


def decode_end(content: bytes) -> End:
    """The last block's value."""
    values = _object(content)
    return End(
        as_of=_moment(values, "as_of"),
        collections=_whole(values, "collections", 0, 2**62),
        users=_whole(values, "users", 0, 2**62),
        faces=_whole(values, "faces", 0, 2**62),
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
        keys.append(
            SealedKey(
                access_key_id=_text(values, "access_key_id", 128),
                label=_text(values, "label", 255, empty=True),
                created_at=_moment(values, "created_at"),
                revoked_at=None if revoked is None else _moment(values, "revoked_at"),
                sealed_secret=sealed,
            )
        )
    return keys


def _object(content: bytes) -> dict[str, Any]:
    values = json.loads(content)
    if not isinstance(values, dict):
        raise ContentError("an object is expected")
    return values


def _text(values: Mapping[str, Any], member: str, longest: int, *, empty: bool = False) -> str:
    return _checked_text(values[member], member, longest, empty=empty)


def _checked_text(value: object, what: str, longest: int, *, empty: bool = False) -> str:
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


def _whole(values: Mapping[str, Any], member: str, least: int, most: int) -> int:
    value = values[member]
    if type(value) is not int or not least <= value <= most:
        raise ContentError(f"{member} has to be a whole number from {least} to {most}")
    return value


def _moment(values: Mapping[str, Any], member: str) -> float:
    value = values[member]
    if type(value) not in (int, float) or not 0 <= value <= _LATEST:
        raise ContentError(f"{member} has to be a moment in seconds since the epoch")
    return float(value)


# --- rows


def rows_of_a_block(dimension: int) -> int:
    """How many rows a block takes, so that it stays well below the limit of the format."""
    largest = dimension + _MAX_TEXT_BYTES * (_MAX_EXTERNAL_ID + _MAX_SOURCE) + 100
    return max(1, min(MOST_ROWS, ROW_BYTES // largest))


def encode_users(rows: UserRows, dimension: int) -> bytes:
    """Users as the content of a block."""
    nothing = bytes(dimension)
    return _encode_columns(
        len(rows),
        {
            **_encode_texts("user_id", rows.user_ids),
            "face_count": np.array(rows.face_counts, "<u4").tobytes(),
            "scale": np.array([scale or 0.0 for scale in rows.scales], "<f8").tobytes(),
            "codes": b"".join(nothing if codes is None else codes for codes in rows.codes),
        },
    )


def decode_users(content: bytes, dimension: int) -> UserRows:
    """Users of a collection whose embeddings have that dimension."""
    count, columns = _decode_columns(content)
    user_ids = _decode_texts(columns, "user_id", count, _MAX_USER_ID)
    if any(not user_id for user_id in user_ids):
        raise ContentError("a user has no id")
    face_counts = _numbers(columns, "face_count", "<u4", count)
    scales = _numbers(columns, "scale", "<f8", count)
    codes = _codes(columns, count, dimension)
    active = face_counts > 0
    _check_embeddings(codes[active], scales[active])
    if codes[~active].any() or scales[~active].any():
        raise ContentError("a user without faces has a vector")
    present = active.tolist()
    return UserRows(
        user_ids=[user_id or "" for user_id in user_ids],
        face_counts=face_counts.tolist(),
        scales=[scale if there else None for scale, there in zip(scales.tolist(), present, strict=True)],
        codes=[row.tobytes() if there else None for row, there in zip(codes, present, strict=True)],
    )


def encode_faces(rows: FaceRows, user_keys: array[int]) -> bytes:
    """Faces as the content of a block. user_keys: of the rows of all users of the collection, ascending."""
    keys = np.array([0 if user is None else user for user in rows.users], np.int64)
    # Keys begin at 1, so nobody's faces get place 0, and the first user's place 1.
    owners = np.searchsorted(np.frombuffer(user_keys, np.int64), keys, side="right")
    return _encode_columns(
        len(rows),
        {
            "face_id": b"".join(rows.face_ids),
            "image_id": b"".join(rows.image_ids),
            "box": b"".join(rows.boxes),
            "confidence": np.array(rows.confidences, "<f8").tobytes(),
            "user": owners.astype("<u4").tobytes(),
            **_encode_texts("external_image_id", rows.external_image_ids),
            **_encode_texts("source", rows.sources),
            "stored_at": np.array(rows.stored_at, "<i8").tobytes(),
            "expires_at": np.array(
                [_NEVER if end is None else end for end in rows.expires_at], "<i8"
            ).tobytes(),
            "scale": np.array(rows.scales, "<f8").tobytes(),
            "codes": b"".join(rows.codes),
        },
    )


def decode_faces(content: bytes, dimension: int, users: Sequence[int]) -> FaceRows:
    """Faces of a collection; `users`: what stands for its users, in their order (in `FaceRows.users`)."""
    count, columns = _decode_columns(content)
    boxes = _bytes(columns, "box", 16 * count)
    box_values = np.frombuffer(boxes, "<f4")
    confidences = _numbers(columns, "confidence", "<f8", count)
    if not (np.isfinite(box_values).all() and (np.abs(box_values) <= 1e6).all()):
        raise ContentError("a box is not of this world")
    if not ((confidences >= 0) & (confidences <= 100)).all():
        raise ContentError("a confidence is not from 0 to 100")
    owners = _numbers(columns, "user", "<u4", count)
    if count and int(owners.max()) > len(users):
        raise ContentError("a face is of a user whom the collection does not have")
    scales = _numbers(columns, "scale", "<f8", count)
    codes = _codes(columns, count, dimension)
    _check_embeddings(codes, scales)
    stored_at = _numbers(columns, "stored_at", "<i8", count)
    expires_at = _numbers(columns, "expires_at", "<i8", count)
    if (
        (stored_at < 0).any()
        or (expires_at < _NEVER).any()
        or max(stored_at.max(), expires_at.max()) > _LATEST
    ):
        raise ContentError("a face was stored, or ends, at a moment that no calendar knows")
    return FaceRows(
        face_ids=_slices(_bytes(columns, "face_id", 16 * count), 16),
        image_ids=_slices(_bytes(columns, "image_id", 16 * count), 16),
        external_image_ids=_decode_texts(columns, "external_image_id", count, _MAX_EXTERNAL_ID),
        boxes=_slices(boxes, 16),
        confidences=confidences.tolist(),
        users=[users[owner - 1] if owner else None for owner in owners.tolist()],
        sources=_decode_texts(columns, "source", count, _MAX_SOURCE),
        stored_at=stored_at.tolist(),
        expires_at=[None if end == _NEVER else end for end in expires_at.tolist()],
        scales=scales.tolist(),
        codes=[row.tobytes() for row in codes],
    )


def _check_embeddings(codes: NDArray[np.int8], scales: NDArray[np.float64]) -> None:
    """See to it that codes (n, d) with their scales (n,) are of unit vectors, as the index relies on."""
    if (codes == -128).any():
        raise ContentError("a code of an embedding is -128; they are from -127 to 127")
    lengths = np.sqrt(np.einsum("ij,ij->i", codes, codes, dtype=np.float64))
    # Rounding moves a unit vector by less than 2% of its length (vectors.quantization).
    if not (np.isfinite(scales).all() and (np.abs(lengths * scales - 1) < 0.1).all()):
        raise ContentError("an embedding, its codes times their scale, is not of length 1")


def _encode_columns(count: int, columns: Mapping[str, bytes]) -> bytes:
    """The number of rows, the columns' names and lengths as JSON, the columns."""
    names = json.dumps(
        {"rows": count, "columns": [[name, len(values)] for name, values in columns.items()]}
    ).encode()
    return b"".join((_COUNT.pack(len(names)), names, *columns.values()))


def _decode_columns(content: bytes) -> tuple[int, dict[str, memoryview]]:
    (length,) = _COUNT.unpack_from(content)
    start = _COUNT.size + length
    values = _object(content[_COUNT.size : start])
    count = _whole(values, "rows", 1, MOST_ROWS_READ)
    columns = {}
    for name, size in values["columns"]:
        if type(size) is not int or not 0 <= size <= len(content) - start:
            raise ContentError(f"the column {str(name)[:40]} does not lie within the block")
        columns[str(name)] = memoryview(content)[start : start + size]
        start += size
    if start != len(content):
        raise ContentError("the columns do not fill the block")
    return count, columns


def _encode_texts(name: str, texts: Sequence[str | None]) -> dict[str, bytes]:
    """Two columns: the lengths of texts in bytes of UTF-8, and these bytes."""
    encoded = [None if text is None else text.encode() for text in texts]
    lengths = [_ABSENT if text is None else len(text) for text in encoded]
    return {
        f"{name}_length": np.array(lengths, "<u2").tobytes(),
        name: b"".join(text for text in encoded if text is not None),
    }


def _decode_texts(columns: Mapping[str, memoryview], name: str, count: int, longest: int) -> list[str | None]:
    lengths = _numbers(columns, f"{name}_length", "<u2", count)
    data = bytes(columns[name])
    sizes = np.where(lengths == _ABSENT, 0, lengths).astype(np.int64)
    ends = np.cumsum(sizes)
    if int(ends[-1]) != len(data):
        raise ContentError(f"the lengths of {name} do not add up to its bytes")
    texts: list[str | None] = []
    for length, end in zip(lengths.tolist(), ends.tolist(), strict=True):
        if length == _ABSENT:
            texts.append(None)
        else:
            texts.append(_checked_text(data[end - length : end].decode(), name, longest))
    return texts


def _bytes(columns: Mapping[str, memoryview], name: str, size: int) -> bytes:
    column = columns[name]
    if len(column) != size:
        raise ContentError(f"the column {name} has {len(column)} bytes instead of {size}")
    return bytes(column)


def _numbers(columns: Mapping[str, memoryview], name: str, kind: str, count: int) -> NDArray[Any]:
    return np.frombuffer(_bytes(columns, name, count * np.dtype(kind).itemsize), kind)


def _codes(columns: Mapping[str, memoryview], count: int, dimension: int) -> NDArray[np.int8]:
    codes: NDArray[np.int8] = np.frombuffer(_bytes(columns, "codes", count * dimension), np.int8)
    return codes.reshape(count, dimension)


def _slices(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]
