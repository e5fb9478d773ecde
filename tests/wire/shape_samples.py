"""Seeded samples of the service model's shapes, and a strict check of JSON against a shape."""

from __future__ import annotations

import random
import string
from typing import Any

import numpy as np

from facerec.api.rekognition.model import Shape

# What a careless parser or serializer stumbles over.
TEXT = string.ascii_letters + string.digits + " \"'\\/\n\t\u0000éß漢字𝄞\u2028"
LONGEST_SAMPLE = 40


def sample(shape: Shape, chance: random.Random, *, full: bool) -> Any:
    """A value of the shape: with all members, or with the required ones alone."""
    if shape.kind == "structure":
        return {
            name: sample(member, chance, full=full)
            for name, member in shape.members.items()
            if full or name in shape.required
        }
    if shape.kind == "list":
        assert shape.element is not None
        return [sample(shape.element, chance, full=full) for _ in range(_count(shape, chance))]
    if shape.kind == "map":
        assert shape.key is not None
        assert shape.element is not None
        count = _count(shape, chance)
        return {
            sample(shape.key, chance, full=full): sample(shape.element, chance, full=full)
            for _ in range(count)
        }
    if shape.kind == "string":
        return chance.choice(shape.enum) if shape.enum else _text(shape, chance)
    if shape.kind == "blob":
        return chance.randbytes(_count(shape, chance))
    if shape.kind == "boolean":
        return chance.random() < 0.5
    if shape.kind in ("integer", "long"):
        bits = 31 if shape.kind == "integer" else 63
        return chance.randint(
            int(shape.minimum or 0) if shape.minimum is not None else -(1 << bits),
            int(shape.maximum) if shape.maximum is not None else (1 << bits) - 1,
        )
    if shape.kind == "timestamp":
        return float(chance.randint(0, 4_000_000_000)) + chance.choice([0.0, 0.5, 0.125])
    low = shape.minimum if shape.minimum is not None else -1e6
    high = shape.maximum if shape.maximum is not None else 1e6
    # Of 32 bits, as the model's floats are.
    return float(np.float32(chance.uniform(low, high)))


def differences(shape: Shape, value: Any, path: str = "") -> list[str]:
    """What in decoded JSON does not fit the shape: members it does not know, types, and every constraint."""
    if shape.kind == "structure":
        if not isinstance(value, dict):
            return [f"{path}: {value!r} is no object"]
        found = [f"{path}: unknown member {name}" for name in value.keys() - shape.members.keys()]
        found += [f"{path}: {name} is missing" for name in shape.required if value.get(name) is None]
        for name, item in value.items():
            if name in shape.members:
                found += differences(shape.members[name], item, f"{path}.{name}")
        return found
    if shape.kind == "list":
        assert shape.element is not None
        if not isinstance(value, list):
            return [f"{path}: {value!r} is no list"]
        found = _quantity(shape, len(value), path)
        for number, item in enumerate(value):
            found += differences(shape.element, item, f"{path}[{number}]")
        return found
    if shape.kind == "map":
        assert shape.key is not None
        assert shape.element is not None
        if not isinstance(value, dict):
            return [f"{path}: {value!r} is no object"]
        found = _quantity(shape, len(value), path)
        for key, item in value.items():
            found += differences(shape.key, key, f"{path} key")
            found += differences(shape.element, item, f"{path}[{key}]")
        return found
    return _scalar(shape, value, path)


def _scalar(shape: Shape, value: Any, path: str) -> list[str]:
    if shape.kind in ("string", "blob"):
        if not isinstance(value, str):
            return [f"{path}: {value!r} is no string"]
        found = _quantity(shape, len(value), path) if shape.kind == "string" else []
        if shape.expression is not None and not shape.expression.fullmatch(value):
            found.append(f"{path}: {value!r} does not match {shape.pattern}")
        if shape.enum and value not in shape.enum:
            found.append(f"{path}: {value!r} is none of {shape.enum}")
        return found
    if shape.kind == "boolean":
        return [] if isinstance(value, bool) else [f"{path}: {value!r} is no boolean"]
    number = int if shape.kind in ("integer", "long") else (int, float)
    if isinstance(value, bool) or not isinstance(value, number):
        return [f"{path}: {value!r} is no {shape.kind}"]
    return _quantity(shape, value, path)


def _quantity(shape: Shape, quantity: float, path: str) -> list[str]:
    found = []
    if shape.minimum is not None and quantity < shape.minimum:
        found.append(f"{path}: {quantity} is less than {shape.minimum}")
    if shape.maximum is not None and quantity > shape.maximum:
        found.append(f"{path}: {quantity} is more than {shape.maximum}")
    return found


def _count(shape: Shape, chance: random.Random) -> int:
    least = int(shape.minimum or 0)
    most = min(int(shape.maximum) if shape.maximum is not None else 4, least + 3)
    return chance.randint(least, most)


def _text(shape: Shape, chance: random.Random) -> str:
    least = int(shape.minimum or 0)
    most = int(shape.maximum) if shape.maximum is not None else LONGEST_SAMPLE
    length = chance.randint(least, max(least, min(most, LONGEST_SAMPLE)))
    return "".join(chance.choice(TEXT) for _ in range(length))
