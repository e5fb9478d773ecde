"""Which precision a network runs in: int8 where its ranges are known and this machine is faster with it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facerec.engine.base import Session
from facerec.engine.runtime.activation_ranges import find_ranges
from facerec.engine.runtime.pixel_input import PixelInput
from facerec.engine.runtime.processor import Int8Products, int8_products, multiplies_bf16
from facerec.engine.runtime.reshaping import InputShape
from facerec.engine.runtime.session import BF16, F32, INT8, on_graphics_card, open_session
from facerec.engine.runtime.tensor_range import Range
from facerec.errors import ConfigurationError, PackError

WRONG = "answers otherwise than in f32"
AS_SET = "as set (FACEREC_PRECISION)"
UNKNOWN_RANGES = "its activation ranges are not known: `facerec packs quantize` makes them"
ON_CARD = "networks on a graphics card run in float32"
NO_INT8_PRODUCTS = "this processor has no instructions for products of int8, as far as the system tells"

_LEAST_ROUNDS, _MOST_ROUNDS = 3, 20
_COMPILATIONS = 3
_LEAST_AGREEMENT = 0.85
"""Least cosine between the outputs in int8 and in f32, for noise.

OpenVINO 2026.4 now and then compiles IResNet-50's int8 form to one that answers with cosines of 0.6 to 0.75;
compiled anew it is right (0.996).
"""
_FASTER = 1.1
"""Times as fast that int8 has to be, for its small loss of accuracy to be worth it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkUse:
    """A network of a pack, and how it is used."""

    role: str
    """What it is in the pack, such as "detector"."""
    file: Path
    pixels: PixelInput | None
    """What the network takes of an image; None where what comes before it makes its numbers."""
    input_shape: InputShape | None
    """Shape that its input shall have; see `open_session`."""
    trial: tuple[int, int, int, int]
    """A usual shape of its input, channels first, to try out its speed on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionChoice:
    """The precision of one network, and why."""

    network: str
    """Name of its file."""
    precision: str
    """"f32", "bf16" or "int8"."""
    reason: str


def open_in_precision(
    use: NetworkUse, wanted: str, *, runtime: str, threads: int, parallel: int
) -> tuple[Session, PrecisionChoice]:
    """Open a network in the precision that is wanted or best.

    wanted: "f32", "bf16", "int8", or "auto": int8 where the ranges are known, the processor multiplies int8,
    and a trial of a few runs shows that it is faster; else bf16 where the processor has it; else f32. A
    runtime that compiles the int8 form wrongly is found out by comparing answers.
    runtime, threads, parallel: see `open_session`.

    Raises what `open_session` raises; ConfigurationError for int8 without ranges, PackError for ranges that
    are damaged or of other weights.
    """

    def opened(
        precision: str, ranges: Mapping[str, Range] | None = None, at_a_time: int = parallel
    ) -> Session:
        return open_session(
            use.file,
            runtime=runtime,
            threads=threads,
            parallel=at_a_time,
            input_shape=use.input_shape,
            pixels=use.pixels,
            precision=precision,
            ranges=ranges,
        )

    def chosen(precision: str, reason: str) -> PrecisionChoice:
        return PrecisionChoice(network=use.file.name, precision=precision, reason=reason)

    if wanted in (F32, BF16):
        return opened(wanted), chosen(wanted, AS_SET)
    known = find_ranges(use.file)
    if wanted == INT8:
        if known is None:
            raise ConfigurationError(
                f"FACEREC_PRECISION is int8, but the activation ranges of {use.file} are not known: make "
                "them with `facerec packs quantize PACK --images FOLDER`, or set FACEREC_PRECISION=auto"
            )
        session = _sound(lambda: opened(INT8, known.ranges), opened(F32, at_a_time=1), use, parallel)
        if session is None:
            raise PackError(f"{use.file} in int8 {WRONG}: set FACEREC_PRECISION=f32")
        return session, chosen(INT8, AS_SET)
    if on_graphics_card(runtime):
        return opened(F32), chosen(F32, ON_CARD)
    fallback = BF16 if multiplies_bf16() else F32
    if known is None:
        return opened(fallback), chosen(fallback, UNKNOWN_RANGES)
    if int8_products() is Int8Products.UNKNOWN:
        return opened(fallback), chosen(fallback, NO_INT8_PRODUCTS)
    rival = opened(F32, at_a_time=1)
    session = _sound(lambda: opened(INT8, known.ranges), rival, use, parallel)
    if session is None:
        return opened(F32), chosen(F32, f"its int8 form {WRONG}")
    after, before = compare_speed(session, rival, use)
    reason = f"int8 takes {after:.2f} ms, f32 {before:.2f} ms"
    if after * _FASTER < before:
        return session, chosen(INT8, reason)
    return opened(fallback), chosen(fallback, reason)


def _sound(opened: Callable[[], Session], rival: Session, use: NetworkUse, parallel: int) -> Session | None:
    """An int8 form that agrees with the f32 one, compiled anew if need be; None where it never does.

    Runs one after the other take turns on the copies that a session may have for runs at a time.
    """
    for _ in range(_COMPILATIONS):
        session = opened()
        if all(agreement(session, rival, use) >= _LEAST_AGREEMENT for _ in range(parallel)):
            return session
    return None


def agreement(one: Session, other: Session, use: NetworkUse) -> float:
    """Cosine between all outputs of two forms of a network, for an image of coarse noise."""
    count, channels, height, width = use.trial
    coarse = np.random.default_rng(1).integers(0, 256, (count, 7, 7, channels), np.uint8)
    image = coarse[:, np.arange(height) * 7 // height][:, :, np.arange(width) * 7 // width]
    planes = np.ascontiguousarray(image.transpose(0, 3, 1, 2), np.float32)
    first, second = (
        np.concatenate([output.ravel() for output in session.run(planes if use.pixels is None else image)])
        for session in (one, other)
    )
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / lengths if lengths else 1.0


def compare_speed(one: Session, other: Session, use: NetworkUse) -> tuple[float, float]:
    """Milliseconds of a run of each of two forms of a network: the least of a few, taken in turns.

    On a busy machine any run may be slow, but not all: while the first does not seem faster, there are more.
    """
    count, channels, height, width = use.trial
    image = np.random.default_rng(0).integers(0, 256, (count, height, width, channels), np.uint8)
    planes = np.ascontiguousarray(image.transpose(0, 3, 1, 2), np.float32)
    least = [math.inf, math.inf]
    for number in range(_MOST_ROUNDS):
        for place, session in enumerate((one, other)):
            began = time.perf_counter()
            session.run(planes if use.pixels is None else image)
            least[place] = min(least[place], 1000 * (time.perf_counter() - began))
        if number >= _LEAST_ROUNDS and least[0] * _FASTER < least[1]:
            break
    return least[0], least[1]
