"""Unit vectors as one signed byte a component.

Component i of a unit vector u becomes `code = round(u[i] / scale)`, -127..127. The scale is one of a short
ladder,

    scale(j) = RANGE * 2**j / (127 * sqrt(d)),   j = 0, 1, 2, ...

and a vector takes the first step on which no component clips. A component of a unit vector has a root mean
square of 1 / sqrt(d), so step 0 reaches RANGE of those: nearly all faces lie on it, and the codes of any two
faces on one step compare by their plain dot product. Step j serves only vectors with a component above
RANGE * 2**(j-1) / sqrt(d).

Error: rounding moves a component by at most scale / 2, so the decoded vector lies within
sqrt(d) * scale / 2 = RANGE * 2**j / 254 of u (0.0197 on step 0, whatever d is): its cosine with u is at least
0.9998, and a cosine with any third vector is off by less than 0.02 at worst. Rounding errors being as good as
independent, the standard deviation of that last error is scale / sqrt(12): on step 0, 0.0010 for d = 128 and
0.0005 for d = 512.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facerec.domain import QuantizedEmbedding

RANGE = 5.0
"""Largest component on the first step, in units of 1 / sqrt(d). In 512 independent normal components one lies
beyond 5 in 1 vector of 3000; beyond 4 it would be 1 of 32."""

LARGEST_CODE = 127

_UNIT_TOLERANCE = 1e-3


def quantize(vector: NDArray[np.float32]) -> QuantizedEmbedding:
    """Codes and scale of a unit vector, float32 (d,). Raises ValueError for what is no unit vector."""
    if vector.ndim != 1:
        raise ValueError(f"an embedding has one dimension, (d,); got an array of shape {vector.shape}")
    return quantize_batch(vector[None])[0]


def quantize_batch(vectors: NDArray[np.float32]) -> list[QuantizedEmbedding]:
    """Codes and scale of each unit vector of (n, d), float32. Raises ValueError for any other."""
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise ValueError(f"embeddings come as (n, d) with d > 0; got an array of shape {vectors.shape}")
    if len(vectors) == 0:
        return []
    exact = vectors.astype(np.float64)
    norms = np.linalg.norm(exact, axis=1)
    if not bool(np.all(np.abs(norms - 1.0) <= _UNIT_TOLERANCE)):  # false for NaN too
        raise ValueError("an embedding to be stored has to be finite and of length 1")
    exact /= norms[:, None]
    scales = _scales(np.abs(exact).max(axis=1), vectors.shape[1])
    codes = np.clip(np.rint(exact / scales[:, None]), -LARGEST_CODE, LARGEST_CODE).astype(np.int8)
    return [QuantizedEmbedding(codes=c.tobytes(), scale=float(s)) for c, s in zip(codes, scales, strict=True)]


def dequantize(embedding: QuantizedEmbedding) -> NDArray[np.float32]:
    """The unit vector that the codes stand for, float32 (d,). Raises ValueError where all codes are zero."""
    vector: NDArray[np.float32] = dequantize_batch([embedding])[0]
    return vector


def dequantize_batch(embeddings: Sequence[QuantizedEmbedding]) -> NDArray[np.float32]:
    """The unit vectors that the codes stand for, float32 (n, d); n > 0, all of one dimension.

    The scale drops out: codes are divided by their own length. Raises ValueError where they are all zero.
    """
    codes = np.frombuffer(b"".join(e.codes for e in embeddings), dtype=np.int8).reshape(len(embeddings), -1)
    decoded = codes.astype(np.float32)
    norms = np.linalg.norm(decoded, axis=1, keepdims=True)
    if not bool(np.all(norms > 0)):
        raise ValueError("stored codes that are all zero stand for no direction: the row is damaged")
    return np.asarray(decoded / norms, dtype=np.float32)


def _scales(largest: NDArray[np.float64], dimension: int) -> NDArray[np.float64]:
    """The ladder's first scale for each largest component. In float32, so that they survive any column."""
    first = RANGE / math.sqrt(dimension)
    steps = np.maximum(np.ceil(np.log2(largest / first)), 0)
    scales: NDArray[np.float64] = float(np.float32(first / LARGEST_CODE)) * np.exp2(steps)
    return scales
