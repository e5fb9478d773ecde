"""Rekognition's service model, as botocore carries it: the only file that knows botocore's model classes.

The model is read once and copied into plain values, because parser, validator and serializer walk it on every
request. It lists every operation of Rekognition with its input, its output and the errors it may answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, ServiceModel, StructureShape
from botocore.model import Shape as BotocoreShape

SERVICE = "rekognition"

# `\p{Z}` in full. Java's \p{L} and \p{N} together are Python's \w less the underscore, which every class of
# the model that names them holds as well (tests/unit/test_rekognition_model.py compares all of Unicode).
SEPARATORS = r" \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """A type of the model with its constraints. Which fields are set follows from `kind`."""

    name: str
    kind: str
    """structure, list, map, string, integer, long, float, double, boolean, blob or timestamp."""
    members: Mapping[str, Shape] = field(default_factory=dict)
    """Of a structure."""
    required: tuple[str, ...] = ()
    """Members of a structure that must be there."""
    key: Shape | None = None
    """Of a map."""
    element: Shape | None = None
    """Of a list; of a map, its values."""
    minimum: float | None = None
    """Least length, or value of a number."""
    maximum: float | None = None
    """Greatest length, or value of a number."""
    pattern: str | None = None
    """Regular expression as the model writes it (Java's dialect)."""
    expression: re.Pattern[str] | None = None
    """`pattern` in Python's dialect; the whole text must match."""
    enum: tuple[str, ...] = ()
    sensitive: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One operation of the service."""

    name: str
    input: Shape
    output: Shape
    errors: frozenset[str]
    """Names of the errors that the model lets it answer."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """The service: its operations by name, and the prefix of their names in `X-Amz-Target`."""

    target_prefix: str
    json_version: str
    operations: Mapping[str, Operation]
    errors: frozenset[str]
    """Names of all modelled errors."""


def read_model() -> Model:
    """Read botocore's newest model of Rekognition (about 30 ms)."""
    service = ServiceModel(Loader().load_service_model(SERVICE, "service-2"), SERVICE)
    copied: dict[str, Shape] = {}
    operations = {}
    for name in service.operation_names:
        operation = service.operation_model(name)
        operations[name] = Operation(
            name=name,
            input=_copy(operation.input_shape, copied),
            output=_copy(operation.output_shape, copied),
            errors=frozenset(shape.name for shape in operation.error_shapes),
        )
    return Model(
        target_prefix=str(service.metadata["targetPrefix"]),
        json_version=str(service.metadata["jsonVersion"]),
        operations=operations,
        errors=frozenset(shape.name for shape in service.error_shapes),
    )


def translate_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a pattern of the model, written for Java, for Python's `fullmatch`."""
    if "\\p{" not in pattern:
        return re.compile(pattern, re.ASCII)
    translated = pattern.replace("\\p{L}", r"\w").replace("\\p{N}", "").replace("\\p{Z}", SEPARATORS)
    return re.compile(translated)


def _copy(shape: BotocoreShape | None, copied: dict[str, Shape]) -> Shape:
    """The shape as a plain value. Rekognition's model has no recursive shape."""
    if shape is None:
        return Shape(name="Empty", kind="structure")
    if shape.name in copied:
        return copied[shape.name]
    metadata: Mapping[str, Any] = shape.metadata
    members: dict[str, Shape] = {}
    key = element = None
    if isinstance(shape, StructureShape):
        members = {name: _copy(member, copied) for name, member in shape.members.items()}
    elif isinstance(shape, ListShape):
        element = _copy(shape.member, copied)
    elif isinstance(shape, MapShape):
        key, element = _copy(shape.key, copied), _copy(shape.value, copied)
    pattern = metadata.get("pattern")
    result = Shape(
        name=shape.name,
        kind=shape.type_name,
        members=members,
        required=tuple(metadata.get("required", ())),
        key=key,
        element=element,
        minimum=metadata.get("min"),
        maximum=metadata.get("max"),
        pattern=pattern,
        expression=translate_pattern(pattern) if pattern else None,
        enum=tuple(metadata.get("enum", ())),
        sensitive=bool(metadata.get("sensitive", False)),
    )
    copied[shape.name] = result
    return result
