"""Which precision a network runs in: int8 where its ranges are known and this machine is faster with it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facerec.engine.activation_ranges import ActivationRanges, find_ranges
from facerec.engine.base import Session
from facerec.engine.pixel_input import PixelInput
from facerec.engine.reshaping import InputShape
from facerec.engine.session import BF16, F32, INT8, open_session
from facerec.errors import ConfigurationError

AUTO = "auto"

_INT8_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "asimddp", "i8mm"})
"""Instructions that sum products of int8 in int32; older ones round or overflow on the way."""
_BF16_PRODUCTS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_CPUINFO = Path("/proc/cpuinfo")
_LEAST_ROUNDS, _MOST_ROUNDS = 3, 20
_FASTER = 1.1
"""Times as fast that int8 has to be, for its small loss of accuracy to be worth it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionChoice:
    """The precision of one network, and why."""

    network: str
    """Name of its file."""
    precision: str
    """"f32", "bf16" or "int8"."""
    reason: str
    ranges: ActivationRanges | None
    """Those that int8 takes; None for any other precision."""


def choose_precision(
    network: Path, *, wanted: str, runtime: str, trial: InputShape, pixels: PixelInput | None = None
) -> PrecisionChoice:
    """Choose the precision of a network's file.

    wanted: "f32", "bf16", "int8", or "auto": int8 where the ranges are known, the processor multiplies int8,
    and a trial of a few runs shows that it is faster; else bf16 where the processor has it; else f32.
    runtime, pixels: see `open_session`. trial: shape of the input in the trial, no dimension left open.

    Raises ConfigurationError for int8 without ranges, PackError for ranges that are damaged or of other
    weights.
    """
    if wanted in (F32, BF16):
        return PrecisionChoice(network=network.name, precision=wanted, reason="as set", ranges=None)
    ranges = find_ranges(network)
    if wanted == INT8:
        if ranges is None:
            raise ConfigurationError(
                f"FACEREC_PRECISION is int8, but the activation ranges of {network} are not known: make them "
                "with `facerec packs quantize PACK --images FOLDER`, or set FACEREC_PRECISION=auto"
            )
        return PrecisionChoice(network=network.name, precision=INT8, reason="as set", ranges=ranges)
    instructions = processor_instructions()
    fallback = BF16 if instructions & _BF16_PRODUCTS else F32
    if ranges is None:
        reason = "activation ranges are not known: `facerec packs quantize` makes them"
    elif not instructions & _INT8_PRODUCTS:
        reason = "this processor has no instructions for products of int8, as far as is known"
    else:
        before, after = trial_times(network, ranges, runtime=runtime, trial=trial, pixels=pixels)
        times = f"int8 takes {after:.2f} ms, f32 {before:.2f} ms"
        if after * _FASTER < before:
            return PrecisionChoice(network=network.name, precision=INT8, reason=times, ranges=ranges)
        reason = times
    return PrecisionChoice(network=network.name, precision=fallback, reason=reason, ranges=None)


def processor_instructions() -> frozenset[str]:
    """Names of the processor's instruction sets, as Linux gives them; none where that is not told."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return frozenset()
    fields = (line.partition(":") for line in lines)
    return frozenset(
        name for key, _, value in fields if key.strip() in ("flags", "Features") for name in value.split()
    )


def trial_times(
    network: Path,
    ranges: ActivationRanges,
    *,
    runtime: str,
    trial: InputShape,
    pixels: PixelInput | None = None,
) -> tuple[float, float]:
    """Milliseconds of a run in f32 and in int8 on one processor: the least of a few runs, taken in turns.

    On a busy machine any run may be slow, but not all: while int8 does not seem faster, there are more rounds.
    """
    before = open_session(network, runtime=runtime, threads=1, input_shape=trial, pixels=pixels)
    after = open_session(
        network,
        runtime=runtime,
        threads=1,
        input_shape=trial,
        pixels=pixels,
        precision=INT8,
        ranges=ranges.ranges,
    )
    count, channels, height, width = (side or 1 for side in trial)
    image = np.random.default_rng(0).integers(0, 256, (count, height, width, channels), np.uint8)
    tensor = image if pixels is not None else np.ascontiguousarray(image.transpose(0, 3, 1, 2), np.float32)
    least = [np.inf, np.inf]
    for number in range(_MOST_ROUNDS):
        for place, session in enumerate((before, after)):
            least[place] = min(least[place], _milliseconds(session, tensor))
        if number >= _LEAST_ROUNDS and least[1] * _FASTER < least[0]:
            break
    return least[0], least[1]


def _milliseconds(session: Session, tensor: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> float:
    began = time.perf_counter()
    session.run(tensor)
    return 1000 * (time.perf_counter() - began)
