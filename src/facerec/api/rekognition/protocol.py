"""AWS JSON 1.1: a walk over an operation's shapes that turns JSON into parameters, and an answer into JSON.

It knows shapes and no faces. Parameters and answers are dicts of the model's member names; a blob is `bytes`,
a timestamp is a float of seconds since the epoch. Like AWS, members that the model does not know are ignored,
null counts as absent, and of a member given twice the last one counts.
"""

from __future__ import annotations

import base64
import functools
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pybase64

from facerec.api.rekognition.errors import MalformedRequest
from facerec.api.rekognition.model import Shape

CONTENT_TYPE = "application/x-amz-json-1.1"

# What AWS calls the types in its messages.
TYPE_NAMES = {
    "structure": "a Structure",
    "list": "a List",
    "map": "a Map",
    "string": "a String",
    "integer": "an Integer",
    "long": "a Long",
    "float": "a Float",
    "double": "a Double",
    "boolean": "a Boolean",
    "blob": "a Blob",
    "timestamp": "a Timestamp",
}
BITS = {"integer": 32, "long": 64}
SCALARS: dict[str, type] = {"string": str, "boolean": bool, "integer": int, "long": int}
FLOAT = struct.Struct("<f")
LARGEST_FLOAT = 3.4028234663852886e38
"""The largest finite number of 32 bits."""
LONGEST_KEY = 128
"""Most characters of a map's key that a message repeats."""


def member_path(parent: str, name: str) -> str:
    """Where a member lies, as AWS writes it in messages: `image.s3Object.bucket`."""
    lowered = name[:1].lower() + name[1:]
    return f"{parent}.{lowered}" if parent else lowered


# --- requests ---------------------------------------------------------------------------------------


def parse(shape: Shape, body: bytes) -> dict[str, Any]:
    """The parameters in a request's body; an empty body is an empty object.

    Raises MalformedRequest for a body that is not UTF-8 JSON, is nested absurdly deep, or has values of the
    wrong type.
    """
    try:
        document = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"The request's body is not valid JSON: {error.msg}") from error
    if not isinstance(document, dict):
        raise MalformedRequest(f"{_token(document)} found where the request's JSON object was expected")
    return _parse_structure(shape, document, "")


def _parse(shape: Shape, value: Any, path: str) -> Any:
    """One value, which is not null."""
    if shape.kind == "structure":
        return _parse_structure(shape, _expect(dict, shape, value, path), path)
    if shape.kind == "list":
        element = _present(shape.element)
        items = _expect(list, shape, value, path)
        return [
            None if item is None else _parse(element, item, f"{path}.{number}.member")
            for number, item in enumerate(items, 1)
        ]
    if shape.kind == "map":
        element = _present(shape.element)
        entries = _expect(dict, shape, value, path)
        return {
            key: None if item is None else _parse(element, item, f"{path}.{key[:LONGEST_KEY]}.member")
            for key, item in entries.items()
        }
    if shape.kind == "string":
        return _expect(str, shape, value, path)
    if shape.kind == "boolean":
        return _expect(bool, shape, value, path)
    if shape.kind == "blob":
        return _parse_blob(_expect(str, shape, value, path), path)
    return _parse_number(shape, value, path)


def _parse_structure(shape: Shape, value: dict[str, Any], path: str) -> dict[str, Any]:
    return {
        name: _parse(shape.members[name], item, member_path(path, name))
        for name, item in value.items()
        if item is not None and name in shape.members
    }


def _parse_number(shape: Shape, value: Any, path: str) -> int | float:
    """An int, long, float, double or timestamp. A whole number may be written with a fraction of zero."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(shape, value, path)
    if shape.kind not in BITS:
        return float(value)
    if value != int(value):
        raise _wrong_type(shape, value, path)
    limit = 1 << (BITS[shape.kind] - 1)
    if not -limit <= value < limit:
        raise MalformedRequest(f"The number at '{path}' does not fit into {BITS[shape.kind]} bits")
    return int(value)


def _parse_blob(value: str, path: str) -> bytes:
    try:
        return pybase64.b64decode(value, validate=True)
    except ValueError as error:
        raise MalformedRequest(f"The value at '{path}' is not valid base64") from error


def _expect(expected: type, shape: Shape, value: Any, path: str) -> Any:
    """The value, when it has the JSON type that the shape takes."""
    if not isinstance(value, expected):
        raise _wrong_type(shape, value, path)
    return value


def _wrong_type(shape: Shape, value: Any, path: str) -> MalformedRequest:
    return MalformedRequest(f"{_token(value)} can not be converted to {TYPE_NAMES[shape.kind]} at '{path}'")


def _token(value: Any) -> str:
    """AWS's name for the JSON token that was found. The value itself may be an image and is not repeated."""
    if value is None:
        return "NULL_VALUE"
    if isinstance(value, bool):
        return "TRUE_VALUE" if value else "FALSE_VALUE"
    if isinstance(value, str):
        return "STRING_VALUE"
    if isinstance(value, list):
        return "LIST_VALUE"
    if isinstance(value, dict):
        return "STRUCTURE_VALUE"
    return "NUMBER_VALUE"


# --- answers ----------------------------------------------------------------------------------------


def serializer(shape: Shape) -> Callable[[Mapping[str, Any]], bytes]:
    """What makes the body of an answer of this shape; made once, because every answer takes it.

    None is left out. It raises ValueError or TypeError for an answer that the shape does not allow (a member
    it does not have, a number that is not finite): a mistake of the service, never of a client.
    """
    write = _writer(shape)
    return lambda answer: orjson.dumps(write(answer))


Writer = Callable[[Any], Any]
"""Turns a value into what orjson writes."""


def _writer(shape: Shape) -> Writer:
    if shape.kind == "structure":
        return _structure_writer(shape)
    if shape.kind == "list":
        element = _writer(_present(shape.element))
        return lambda value: [element(item) for item in _checked(list, shape, value)]
    if shape.kind == "map":
        element = _writer(_present(shape.element))
        return lambda value: {key: element(item) for key, item in value.items()}
    if shape.kind == "blob":
        return lambda value: base64.b64encode(value).decode("ascii")
    if shape.kind in SCALARS:
        return functools.partial(_checked, SCALARS[shape.kind], shape)
    return _number_writer(shape)


def _structure_writer(shape: Shape) -> Writer:
    members = {name: _writer(member) for name, member in shape.members.items()}

    def write(value: Mapping[str, Any]) -> dict[str, Any]:
        if not value.keys() <= members.keys():
            unknown = ", ".join(sorted(value.keys() - members.keys()))
            raise ValueError(f"{shape.name} has no member {unknown}")
        return {name: members[name](item) for name, item in value.items() if item is not None}

    return write


def _number_writer(shape: Shape) -> Writer:
    """Of a float, double or timestamp. A float has 32 bits: a value reads alike wherever it is sent."""
    narrow = shape.kind == "float"

    def write(value: Any) -> float:
        number = float(value)
        if narrow and abs(number) <= LARGEST_FLOAT:
            (number,) = FLOAT.unpack(FLOAT.pack(number))
        elif narrow or not math.isfinite(number):
            raise ValueError(f"{shape.name} is {number}")
        return number

    return write


def _checked(expected: type, shape: Shape, value: Any) -> Any:
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        raise TypeError(f"{shape.name} is {TYPE_NAMES[shape.kind]}, not {type(value).__name__}")
    return value


def _present(shape: Shape | None) -> Shape:
    """The element's shape, which every list and map of the model has."""
    if shape is None:
        raise TypeError("a list or map of the service model has no element")
    return shape
