"""One bit a component of each row, compared before the row's codes are: most rows need no other look.

Codes are rotated by a fixed random matrix, and a row o keeps the signs x of its rotated components: a corner
of the cube, of length 1 with components +-1/sqrt(D). A probe q is rotated too, and each of its components
rounded to one of 16 levels, kept in 4 bit planes; the inner product of x with the rounded probe then
comes out of exclusive ors and counted bits. So far J. Gao and C. Long, "RaBitQ: Quantizing High-Dimensional
Vectors with a Theoretical Error Bound for Approximate Nearest Neighbor Search" (SIGMOD 2024).

Which rows are looked at. Let c be the cosine of q and o, a the inner product of x and o, and e the unit
vector along the rest of x: x = a o + sqrt(1 - a^2) e. As the rotation is random, e is a random direction
across o, so <x, q> has mean c a and the variance (1 - c^2) (1 - a^2) / (D - 1) (the paper's section 3.2).
For a random direction o

    E a = sqrt(D) Gamma(D/2) / (sqrt(pi) Gamma((D+1)/2)),    E a^2 = 2/pi + (1 - 2/pi) / D

so that a hardly varies (standard deviation 0.21 / sqrt(D)), and a row needs no factor of its own: the
variance c^2 (E a^2 - (E a)^2) is added instead. The rounded probe is g q + r with r across q, which adds
|r|^2 / D.

A row of cosine c or more is left out only where the sum of the three falls DEVIATIONS standard deviations
below its mean: 1 row in 100 000 for the normal distribution that it has to all appearance. Rows and probes
that share a direction share that part of the error too, which moves the mean: by a third of a deviation where
strangers have a cosine of 0.5. Even then fewer than 1 in 10 000 are missed.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.vectors.dot_products import ROW_BLOCK
from facerec.vectors.kernels import ProbeCodes, kernels
from facerec.vectors.loops import PLANES

VERSION = 1
"""Of the rotation and the bits: sketches of another version compare with nothing."""

SKETCH_DIMENSION = 128
"""Least dimension of which sketches are kept. Their error falls with the square root of the dimension: at 128
they pay for the stricter thresholds only."""

DEVIATIONS = 4.3
"""See above."""

_STEPS = {1: 1.5958, PLANES: 0.3352}
"""Distance of 2 and of 16 levels that round a standard normal component with the least mean square error
(J. Max, "Quantizing for Minimum Distortion", 1960, table II)."""

_SEED = 20240531


@dataclass(frozen=True, slots=True)
class ProbeSketch:
    """A probe as the sketches' kernel takes it."""

    planes: NDArray[np.uint64]
    """(planes, words): bit j of each level, the least first."""
    _size: int
    _step: float
    _gain: float
    _rest: float

    def cut(self, cosine: float) -> int:
        """The greatest difference at which a row of this cosine or a higher one is still looked at.

        The difference: the bits in which a row and plane j differ, times 2^j, summed.
        """
        size, levels = self._size, 2 ** len(self.planes)
        least = _least_product(size, cosine, self._gain, self._rest)
        # <x, probe> = step / (2 sqrt(D)) * ((levels - 1) D - 2 difference)
        return int(((levels - 1) * size - least * 2 * math.sqrt(size) / self._step) // 2)


def random_share(size: int, cosine: float) -> float:
    """The share of rows of random directions that are looked at when this cosine or a higher one is wanted.

    size: components of a row. The probe is taken as if rounding did not change it, for it hardly does.
    """
    # <x, q> of such rows has mean 0 and variance 1 / D.
    return 0.5 * math.erfc(_least_product(size, cosine, 1.0, 0.0) * math.sqrt(size / 2))


def _least_product(size: int, cosine: float, gain: float, rest: float) -> float:
    """The least <x, rounded probe> that a row of this cosine has, but for 1 in 100 000: see above."""
    mean, square = _alignment(size)
    across = (1 - cosine * cosine) * (1 - square) / (size - 1)
    along = cosine * cosine * (square - mean * mean)
    deviation = math.sqrt(gain * gain * (across + along) + rest * rest / size)
    return gain * cosine * mean - DEVIATIONS * deviation


def sketch_probe(probe: NDArray[np.float32], planes: int = PLANES) -> ProbeSketch:
    """The sketch of a probe of unit length (width,), padded with zeros as rows are.

    planes: PLANES, or 1: its components' signs alone.
    """
    size = len(probe)
    turned = _rotation_float(size) @ probe
    turned /= np.linalg.norm(turned)
    count = 2**planes
    step = _STEPS[planes] / math.sqrt(size)
    levels = np.clip(np.floor(turned / step) + count // 2, 0, count - 1)
    rounded = (levels - (count - 1) / 2) * step
    gain = float(rounded @ turned)
    rest = math.sqrt(max(float(rounded @ rounded) - gain**2, 0.0))
    whole = levels.astype(np.uint8)
    bits = np.stack([_packed((whole >> plane & 1).astype(np.bool_)) for plane in range(planes)])
    return ProbeSketch(bits, size, step, gain, rest)


def bits_of(codes: NDArray[np.int8]) -> NDArray[np.uint64]:
    """Sketches (n, words) of codes (n, width). Takes about a microsecond a row of 512."""
    count, width = codes.shape
    if count % ROW_BLOCK:
        codes = np.pad(codes, ((0, -count % ROW_BLOCK), (0, 0)))
    sketches: NDArray[np.uint64] = kernels(width).signs(codes, _rotation_codes(width)).view("<u8")
    return sketches[:count]


def _packed(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Words of 64 bits, the first the lowest; (..., n) to (..., n / 64)."""
    packed: NDArray[np.uint64] = np.packbits(bits, axis=-1, bitorder="little").view("<u8")
    return packed


@functools.cache
def _alignment(size: int) -> tuple[float, float]:
    """E a and E a^2 of this module's text."""
    mean = math.sqrt(size / math.pi) * math.exp(math.lgamma(size / 2) - math.lgamma((size + 1) / 2))
    return mean, 2 / math.pi + (1 - 2 / math.pi) / size


@functools.cache
def _rotation(size: int) -> NDArray[np.int8]:
    """A random orthogonal matrix (size, size), times what makes its largest component 127, rounded.

    From the orthogonal part of a matrix of normal numbers; RandomState's numbers are the same for ever.
    """
    normal = np.random.RandomState(_SEED).standard_normal((size, size))
    orthogonal, triangle = np.linalg.qr(normal)
    orthogonal *= np.sign(np.diagonal(triangle))
    return np.asarray(np.rint(orthogonal * (127 / np.abs(orthogonal).max())), dtype=np.int8)


@functools.cache
def _rotation_codes(size: int) -> ProbeCodes:
    """The same matrix for the kernels: its rows are the probes that give the rows' rotated components."""
    return kernels(size).prepare(_rotation(size))


@functools.cache
def _rotation_float(size: int) -> NDArray[np.float32]:
    """The same matrix for floating point probes."""
    return _rotation(size).astype(np.float32)
