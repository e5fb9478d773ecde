"""The constraints of the service model, checked as AWS does: all violations of a request in one message.

botocore checks required members and minima before it sends; maxima, patterns and enumerations it leaves to
the service. Values are shortened in messages, and of a blob only the length is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from facerec.api.rekognition.errors import ConstraintsViolated
from facerec.api.rekognition.model import Shape
from facerec.api.rekognition.protocol import member_path

LONGEST_VALUE = 256
"""Most characters of a value that a message repeats."""
LENGTHS = frozenset({"string", "list", "map", "blob"})
SCALARS = frozenset({"string", "integer", "long", "float", "double", "boolean", "blob", "timestamp"})
NOT_NULL = "Member must not be null"


def validate(shape: Shape, parameters: Mapping[str, Any], *, maxima: Mapping[str, int] | None = None) -> None:
    """Check parsed parameters against an input shape.

    `maxima` replaces the greatest length of the shapes it names: the operator's own limit on `ImageBlob`.
    Raises ConstraintsViolated.
    """
    violations = [
        f"Value {value} at '{path}' failed to satisfy constraint: {constraint}"
        for path, value, constraint in _structure(shape, parameters, "", maxima or {})
    ]
    if violations:
        plural = "s" if len(violations) > 1 else ""
        raise ConstraintsViolated(
            f"{len(violations)} validation error{plural} detected: {'; '.join(violations)}"
        )


Violation = tuple[str, str, str]
"""Path, value as text, constraint."""


def _structure(
    shape: Shape, value: Mapping[str, Any], path: str, maxima: Mapping[str, int]
) -> Iterator[Violation]:
    for name, member in shape.members.items():
        where = member_path(path, name)
        item = value.get(name)
        if item is None:
            if name in shape.required:
                yield where, "null", NOT_NULL
        else:
            yield from _value(member, item, where, maxima)


def _value(shape: Shape, value: Any, path: str, maxima: Mapping[str, int]) -> Iterator[Violation]:
    if shape.kind == "structure":
        yield from _structure(shape, value, path, maxima)
        return
    for constraint in _broken(shape, value, maxima):
        yield path, _quoted(shape, value), constraint
    if shape.kind == "list" and shape.element is not None:
        yield from _elements(shape, shape.element, value, path, maxima)
    if shape.kind == "map" and shape.key is not None and shape.element is not None:
        for label, part, items in (
            ("Map keys", shape.key, list(value)),
            ("Map value", shape.element, list(value.values())),
        ):
            if any(item is None or any(_broken(part, item, maxima)) for item in items):
                yield path, _quoted(shape, value), f"{label} must satisfy constraint: [{_all(part, maxima)}]"


def _elements(
    shape: Shape, element: Shape, value: list[Any], path: str, maxima: Mapping[str, int]
) -> Iterator[Violation]:
    """Of a list of scalars AWS tells all constraints of its elements; of others, what each one breaks."""
    if any(item is None for item in value):
        yield path, _quoted(shape, value), NOT_NULL
    elif element.kind not in SCALARS:
        for number, item in enumerate(value, 1):
            yield from _value(element, item, f"{path}.{number}.member", maxima)
    elif any(any(_broken(element, item, maxima)) for item in value):
        yield path, _quoted(shape, value), f"Member must satisfy constraint: [{_all(element, maxima)}]"


def _broken(shape: Shape, value: Any, maxima: Mapping[str, int]) -> Iterator[str]:
    """The constraints of the shape itself that the value breaks."""
    quantity, minimum, maximum = None, shape.minimum, maxima.get(shape.name, shape.maximum)
    if shape.kind in LENGTHS:
        quantity = len(value)
    elif shape.kind not in ("boolean", "timestamp"):
        quantity = value
    if quantity is not None and maximum is not None and quantity > maximum:
        yield _most(shape, maximum)
    if quantity is not None and minimum is not None and quantity < minimum:
        yield _least(shape, minimum)
    if shape.expression is not None and not shape.expression.fullmatch(value):
        yield _pattern(shape)
    if shape.enum and value not in shape.enum:
        yield _enum(shape)


def _all(shape: Shape, maxima: Mapping[str, int]) -> str:
    """Every constraint of a shape."""
    maximum = maxima.get(shape.name, shape.maximum)
    constraints = [
        _most(shape, maximum) if maximum is not None else "",
        _least(shape, shape.minimum) if shape.minimum is not None else "",
        _pattern(shape) if shape.pattern else "",
        _enum(shape) if shape.enum else "",
    ]
    return ", ".join(constraint for constraint in constraints if constraint) or NOT_NULL


def _most(shape: Shape, maximum: float) -> str:
    measure = "length" if shape.kind in LENGTHS else "value"
    return f"Member must have {measure} less than or equal to {maximum}"


def _least(shape: Shape, minimum: float) -> str:
    measure = "length" if shape.kind in LENGTHS else "value"
    return f"Member must have {measure} greater than or equal to {minimum}"


def _pattern(shape: Shape) -> str:
    return f"Member must satisfy regular expression pattern: {shape.pattern}"


def _enum(shape: Shape) -> str:
    return f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"


def _quoted(shape: Shape, value: Any) -> str:
    text = "***" if shape.sensitive else _text(value)
    return f"'{text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + '...'}'"


def _text(value: Any) -> str:
    """A value as Java writes it; lists and maps only as far as a message repeats them."""
    if value is None:
        return "null"
    if isinstance(value, bytes):
        return f"java.nio.HeapByteBuffer[pos=0 lim={len(value)} cap={len(value)}]"
    if isinstance(value, list):
        return f"[{', '.join(_text(item) for item in value[:LONGEST_VALUE])}]"
    if isinstance(value, dict):
        entries = list(value.items())[:LONGEST_VALUE]
        return f"{{{', '.join(f'{key}={_text(item)}' for key, item in entries)}}}"
    return str(value)
