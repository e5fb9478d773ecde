"""Which precision a network runs in: int8 where its ranges are known and this machine is faster with it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facerec.engine.base import Floats, Session
from facerec.engine.runtime.activation_ranges import find_ranges
from facerec.engine.runtime.compiled_forms import CompiledForms, Form
from facerec.engine.runtime.pixel_input import PixelInput
from facerec.engine.runtime.processor import Int8Products, int8_products, multiplies_bf16
from facerec.engine.runtime.reshaping import InputShape
from facerec.engine.runtime.session import BF16, F32, INT8, choose_runtime, on_graphics_card, open_session
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
    digest: str
    """SHA-256 of the file, lower case hex."""
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
    use: NetworkUse, wanted: str, *, runtime: str, threads: int, parallel: int, compiled: Path | None = None
) -> tuple[Session, PrecisionChoice]:
    """Open a network in the precision that is wanted or best.

    wanted: "f32", "bf16", "int8", or "auto": int8 where the ranges are known, the processor multiplies int8,
    and a trial of a few runs shows that it is faster; else bf16 where the processor has it; else f32. A
    runtime that compiles the int8 form wrongly is found out by comparing answers.
    runtime, threads, parallel: see `open_session`.
    compiled: folder of compiled networks (`CompiledForms`), and of choices between precisions.

    Raises what `open_session` raises; ConfigurationError for int8 without ranges, PackError for ranges that
    are damaged or of other weights.
    """
    forms = None if compiled is None else CompiledForms(compiled, use.digest)
    opener = _Opener(use, runtime, threads, parallel, forms)
    if wanted in (F32, BF16):
        return opener.open(wanted), _chosen(use, wanted, AS_SET)
    known = find_ranges(use.file, use.digest)
    if wanted == INT8 and known is None:
        raise ConfigurationError(
            f"FACEREC_PRECISION is int8, but the activation ranges of {use.file} are not known: make "
            "them with `facerec packs quantize PACK --images FOLDER`, or set FACEREC_PRECISION=auto"
        )
    if wanted != INT8 and on_graphics_card(runtime):
        return opener.open(F32), _chosen(use, F32, ON_CARD)
    fallback = BF16 if multiplies_bf16() else F32
    if known is None:
        return opener.open(fallback), _chosen(use, fallback, UNKNOWN_RANGES)
    if wanted != INT8 and int8_products() is Int8Products.UNKNOWN:
        return opener.open(fallback), _chosen(use, fallback, NO_INT8_PRODUCTS)
    return _remembered(opener, wanted, known.ranges) or _tried(opener, wanted, known.ranges, fallback)


@dataclass(frozen=True, slots=True)
class _Opener:
    """Opens one network in any precision."""

    use: NetworkUse
    runtime: str
    threads: int
    parallel: int
    forms: CompiledForms | None

    def open(
        self, precision: str, ranges: Mapping[str, Range] | None = None, *, anew: bool = False
    ) -> Session:
        """Open the network; `anew`: its compiled form is made anew."""
        forms = self.forms.anew() if self.forms and anew else self.forms
        return self._open(precision, ranges, self.parallel, forms)

    def open_rival(self) -> Session:
        """Open the network in f32, to compare another form with it."""
        return self._open(F32, None, 1, None)

    def _open(
        self,
        precision: str,
        ranges: Mapping[str, Range] | None,
        parallel: int,
        forms: CompiledForms | None,
    ) -> Session:
        return open_session(
            self.use.file,
            runtime=self.runtime,
            threads=self.threads,
            parallel=parallel,
            input_shape=self.use.input_shape,
            pixels=self.use.pixels,
            precision=precision,
            ranges=ranges,
            forms=forms,
        )


def _chosen(use: NetworkUse, precision: str, reason: str) -> PrecisionChoice:
    return PrecisionChoice(network=use.file.name, precision=precision, reason=reason)


def _tried(
    opener: _Opener, wanted: str, ranges: Mapping[str, Range], fallback: str
) -> tuple[Session, PrecisionChoice]:
    """Choose between int8 and f32 by trying both.

    int8 is remembered. What was chosen in its place is tried again by the next process: that this machine was
    busy, or its compiler wrong, must not cost more than one of them.
    """
    use, rival = opener.use, opener.open_rival()
    answer = trial_answer(rival, use)
    session = _sound(opener, ranges, answer)
    if session is None:
        if wanted == INT8:
            raise PackError(f"{use.file} in int8 {WRONG}: set FACEREC_PRECISION=f32")
        return opener.open(F32), _chosen(use, F32, f"its int8 form {WRONG}")
    reason = AS_SET
    if wanted != INT8:
        after, before = compare_speed(session, rival, use)
        reason = f"int8 takes {after:.2f} ms, f32 {before:.2f} ms"
        if after * _FASTER >= before:
            return opener.open(fallback), _chosen(use, fallback, reason)
    if opener.forms is not None:
        form = Form({"reason": reason}, answer.tobytes())
        opener.forms.write(form, **_circumstances(opener, wanted, ranges))
    return session, _chosen(use, INT8, reason)


def _remembered(
    opener: _Opener, wanted: str, ranges: Mapping[str, Range]
) -> tuple[Session, PrecisionChoice] | None:
    """int8, where it was chosen before and still answers as f32 did then."""
    kept = opener.forms.read(**_circumstances(opener, wanted, ranges)) if opener.forms else None
    if kept is None:
        return None
    session = opener.open(INT8, ranges)
    if not _agrees(session, np.frombuffer(kept.content, np.float32), opener):
        return None
    return session, _chosen(opener.use, INT8, kept.about["reason"])


def _circumstances(opener: _Opener, wanted: str, ranges: Mapping[str, Range]) -> dict[str, object]:
    """What a choice depends on, beside the weights and the machine."""
    use = opener.use
    return {
        "input_shape": use.input_shape,
        "pixels": use.pixels,
        "ranges": ranges,
        "runtime": choose_runtime(opener.runtime),
        "trial": use.trial,
        "wanted": wanted,
    }


def _sound(opener: _Opener, ranges: Mapping[str, Range], answer: Floats) -> Session | None:
    """An int8 form that answers as f32 does, compiled anew if need be; None where it never does."""
    for attempt in range(_COMPILATIONS):
        session = opener.open(INT8, ranges, anew=attempt > 0)
        if _agrees(session, answer, opener):
            return session
    return None


def _agrees(session: Session, answer: Floats, opener: _Opener) -> bool:
    """Whether a network answers as f32 does: each of the copies that it has for runs at a time.

    Runs one after the other take turns on the copies.
    """
    answers = (trial_answer(session, opener.use) for _ in range(opener.parallel))
    return all(agreement(each, answer) >= _LEAST_AGREEMENT for each in answers)


def trial_answer(session: Session, use: NetworkUse) -> Floats:
    """All outputs of a network, one after the other, for an image of coarse noise."""
    count, channels, height, width = use.trial
    coarse = np.random.default_rng(1).integers(0, 256, (count, 7, 7, channels), np.uint8)
    image = coarse[:, np.arange(height) * 7 // height][:, :, np.arange(width) * 7 // width]
    planes = np.ascontiguousarray(image.transpose(0, 3, 1, 2), np.float32)
    outputs = session.run(planes if use.pixels is None else image)
    return np.concatenate([output.ravel() for output in outputs])


def agreement(one: Floats, other: Floats) -> float:
    """Cosine between two answers of the same length."""
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths else 1.0


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
