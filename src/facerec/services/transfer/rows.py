"""What the blocks of users and faces hold: rows in columns.

What is read comes from a file that anybody may have written: every value is checked for what the database,
the index and the doors rely on.
"""

from __future__ import annotations

import json
import struct
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerec.metastore.transfer import FaceRows, UserRows
from facerec.services.transfer.content import LATEST, ContentError, checked_text, json_object, whole

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

_UNJUDGED = -1
"""Quality of a face that was not judged."""

_UNKNOWN = -1.0
"""A moment that nobody knows."""

_MAX_EXTERNAL_ID, _MAX_SOURCE, _MAX_USER_ID, _MAX_METADATA = 255, 255, 128, 2048
_MAX_TEXT_BYTES = 4
"""Of a character, in UTF-8."""


def faces_of_a_block(dimension: int) -> int:
    """How many faces a block takes, so that it stays well below the limit of the format."""
    largest = dimension + _MAX_TEXT_BYTES * (_MAX_EXTERNAL_ID + _MAX_SOURCE) + 100
    return max(1, min(MOST_ROWS, ROW_BYTES // largest))


def users_of_a_block(dimension: int) -> int:
    """How many users a block takes, so that it stays well below the limit of the format."""
    largest = dimension + _MAX_TEXT_BYTES * (_MAX_USER_ID + _MAX_METADATA) + 100
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
            **_encode_texts("metadata", rows.metadata),
            "created_at": _encode_moments(rows.created_at),
            "updated_at": _encode_moments(rows.updated_at),
            "version": np.array(rows.versions, "<i8").tobytes(),
        },
    )


def decode_users(content: bytes, dimension: int) -> UserRows:
    """Users of a collection whose embeddings have that dimension.

    What is kept with persons is not in files of versions before there were any.
    """
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
    nothing: list[None] = [None] * count
    kept = "metadata" in columns
    versions = _numbers(columns, "version", "<i8", count).tolist() if kept else [1] * count
    if any(not 0 <= version <= LATEST for version in versions):
        raise ContentError("a user's version is not a number from 0 on")
    return UserRows(
        user_ids=[user_id or "" for user_id in user_ids],
        face_counts=face_counts.tolist(),
        scales=[scale if there else None for scale, there in zip(scales.tolist(), present, strict=True)],
        codes=[row.tobytes() if there else None for row, there in zip(codes, present, strict=True)],
        metadata=_decode_metadata(columns, count) if kept else nothing,
        created_at=_decode_moments(columns, "created_at", count) if kept else nothing,
        updated_at=_decode_moments(columns, "updated_at", count) if kept else nothing,
        versions=versions,
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
            "quality": np.array(
                [_UNJUDGED if quality is None else quality for quality in rows.qualities], "<i2"
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
        or max(stored_at.max(), expires_at.max()) > LATEST
    ):
        raise ContentError("a face was stored, or ends, at a moment that no calendar knows")
    qualities = (
        _numbers(columns, "quality", "<i2", count)
        if "quality" in columns
        else np.full(count, _UNJUDGED, "<i2")
    )
    if ((qualities < _UNJUDGED) | (qualities > 100)).any():
        raise ContentError("a face's quality is not from 0 to 100")
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
        qualities=[None if quality == _UNJUDGED else quality for quality in qualities.tolist()],
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
    values = json_object(content[_COUNT.size : start])
    count = whole(values, "rows", 1, MOST_ROWS_READ)
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
            texts.append(checked_text(data[end - length : end].decode(), name, longest))
    return texts


def _encode_moments(moments: Sequence[float | None]) -> bytes:
    return np.array([_UNKNOWN if moment is None else moment for moment in moments], "<f8").tobytes()


def _decode_moments(columns: Mapping[str, memoryview], name: str, count: int) -> list[float | None]:
    moments = _numbers(columns, name, "<f8", count)
    known = moments != _UNKNOWN
    if not ((moments[known] >= 0) & (moments[known] <= LATEST)).all():
        raise ContentError(f"{name} is a moment that no calendar knows")
    return [moment if there else None for moment, there in zip(moments.tolist(), known.tolist(), strict=True)]


def _decode_metadata(columns: Mapping[str, memoryview], count: int) -> list[str | None]:
    texts = _decode_texts(columns, "metadata", count, _MAX_METADATA)
    for text in texts:
        if text is not None:
            json_object(text.encode())
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
