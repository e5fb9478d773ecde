"""What quantising a network takes to know of it: the range of each activation, measured on pictures.

The ranges of a network lie beside its file (`recognizer.onnx`, `recognizer.ranges.toml`); those of networks
that are widely used come with facerec and are found by the digest of the weights.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from facerec.engine.runtime.tensor_range import Bound, Range
from facerec.engine.whole_file import put_file
from facerec.errors import PackError

SUFFIX = ".ranges.toml"
_SHIPPED = "ranges"
_REMEDY = "make it anew with `facerec packs quantize`, or delete it"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationRanges:
    """The ranges of one network's activations."""

    network: str
    """SHA-256 of the float32 network's file, lower case hex."""
    source: str
    """How they were made: which pictures, how many."""
    cost: dict[str, float] = field(default_factory=dict)
    """What int8 was measured to change, by the name of the figure."""
    ranges: dict[str, Range]
    """Least and greatest value of each tensor, or of its channels, by its name in the network's graph."""


def ranges_file(network: Path) -> Path:
    """Where the ranges of a network's file lie."""
    return network.with_name(network.stem + SUFFIX)


def find_ranges(network: Path, digest: str | None = None) -> ActivationRanges | None:
    """The ranges of a network: those beside its file, else those that come with facerec; None for neither.

    digest: SHA-256 of the file, lower case hex, where it is known.

    Raises PackError when the file beside it is damaged or belongs to other weights.
    """
    try:
        digest = digest or hashlib.sha256(network.read_bytes()).hexdigest()
    except OSError as error:
        raise PackError(f"{network} can not be read: {error.strerror or error}") from error
    file = ranges_file(network)
    if not file.exists():
        return _shipped(digest)
    try:
        found = parse_ranges(file.read_text("utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise PackError(f"{file} can not be read: {error}") from error
    if found.network != digest:
        raise PackError(
            f"{file} holds the activation ranges of other weights: of a network with SHA-256 "
            f"{found.network}, but {network.name} has {digest}; {_REMEDY}"
        )
    return found


def write_ranges(path: Path, ranges: ActivationRanges) -> None:
    """Write the ranges to a file, so that its name never stands for half of them. Raises PackError."""
    try:
        put_file(path, ranges_text(ranges).encode(), mode=0o644)
    except OSError as error:
        raise PackError(f"{path} can not be written: {error.strerror or error}") from error


def ranges_text(ranges: ActivationRanges) -> str:
    """The ranges as TOML."""
    lines = [
        "# Ranges of a network's activations, from which its int8 form is made. By `facerec packs quantize`.",
        f'network = "{ranges.network}"',
        f"source = {_quoted(ranges.source)}",
    ]
    if ranges.cost:
        lines += ["", "[cost]", *(f"{_quoted(name)} = {value}" for name, value in ranges.cost.items())]
    lines += ["", "[ranges]"]
    lines += [
        f"{_quoted(name)} = [{_bound_text(low)}, {_bound_text(high)}]"
        for name, (low, high) in ranges.ranges.items()
    ]
    return "\n".join(lines) + "\n"


def parse_ranges(text: str, name: str) -> ActivationRanges:
    """Read what `ranges_text` wrote. Raises PackError that names the file and what is wrong there."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PackError(f"{name} is not TOML: {error}; {_REMEDY}") from error
    ranges, cost = document.get("ranges"), document.get("cost", {})
    stated = document.get("network"), document.get("source")
    if not (isinstance(ranges, dict) and ranges and isinstance(cost, dict)):
        raise PackError(f"{name} holds no table [ranges]; {_REMEDY}")
    if not all(isinstance(each, str) for each in stated):
        raise PackError(f"{name} does not say the network's SHA-256 and the source of the ranges; {_REMEDY}")
    wrong = [tensor for tensor, bounds in ranges.items() if not _is_range(bounds)]
    if wrong:
        raise PackError(
            f"{name}: the range of {wrong[0]!r} is {ranges[wrong[0]]!r}; expected two finite numbers, the "
            f"lesser first, or lists with such a number for each channel; {_REMEDY}"
        )
    return ActivationRanges(
        network=str(stated[0]).lower(),
        source=str(stated[1]),
        cost={figure: float(value) for figure, value in cost.items() if _is_number(value)},
        ranges={tensor: (_bound(low), _bound(high)) for tensor, (low, high) in ranges.items()},
    )


def _shipped(digest: str) -> ActivationRanges | None:
    """The ranges that come with facerec for the weights of this digest."""
    file = resources.files(__package__).joinpath(_SHIPPED, f"{digest[:16]}.toml")
    if not file.is_file():
        return None
    found = parse_ranges(file.read_text("utf-8"), file.name)
    return found if found.network == digest else None


def _quoted(text: str) -> str:
    """A TOML string; JSON's escapes are TOML's too."""
    return json.dumps(text, ensure_ascii=False)


def _is_number(value: Any) -> bool:
    """A finite number; a bool is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_range(bounds: Any) -> bool:
    """Two finite numbers, the lesser first, or lists with such a number for each channel."""
    if not (isinstance(bounds, list) and len(bounds) == 2):
        return False
    low, high = (each if isinstance(each, list) else [each] for each in bounds)
    lengths = {len(each) for each in bounds if isinstance(each, list)}
    fit = len(lengths) < 2 and 0 not in lengths and all(map(_is_number, [*low, *high]))
    return fit and bool(np.all(np.array(low) <= np.array(high)))


def _bound(value: Any) -> Bound:
    """A bound as it is read: a number, or a list of one for each channel."""
    return tuple(map(float, value)) if isinstance(value, list) else float(value)


def _bound_text(bound: Bound) -> str:
    """A bound as TOML; channels, of which there are thousands, with four digits."""
    if isinstance(bound, tuple):
        return f"[{', '.join(f'{each:.4g}' for each in bound)}]"
    return f"{bound:.6g}"
