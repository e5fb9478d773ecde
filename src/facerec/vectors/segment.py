"""A few megabytes of an index: FAISS codes, the row keys and the codes' lengths, searched exactly."""

from __future__ import annotations

from typing import Any, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from facerec.vectors.quantization import LARGEST_CODE

SEGMENT_BYTES = 8 * 2**20
"""Codes of a segment. Small enough for a processor's cache, so that a batch of probes reads memory once;
large enough that the call for each segment costs nothing beside the scan."""

# FAISS keeps a signed code as the byte code + 128; flipping the highest bit is the same.
_SIGN_BIT = np.uint8(0x80)

_ROUNDING = 1e-5
"""Allowance for float32 in an error bound."""


class Rows(NamedTuple):
    """Vectors of one scale."""

    scale: float
    keys: NDArray[np.int64]
    """(n,)."""
    codes: NDArray[np.int8]
    """(n, d)."""


class Candidates(NamedTuple):
    """A segment's nearest rows for each of Q probes, F each."""

    places: NDArray[np.int64]
    """(Q, F): rows of the segment."""
    estimates: NDArray[np.float32]
    """(Q, F): cosines as estimated from the probe's codes."""
    bounds: NDArray[np.float32]
    """(Q,): no row that was left out is estimated higher; -2 where none was left out."""


class Probes:
    """Probes as floats and as codes: the scan multiplies integers, the answer comes from the floats."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        """Take probes (Q, d) of unit length."""
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        largest = np.abs(self.vectors).max(axis=1, keepdims=True)
        self.scales: NDArray[np.float32] = np.maximum(largest, np.finfo(np.float32).tiny) / LARGEST_CODE
        # float32 holds these codes' dot products exactly, for FAISS versions that multiply floats.
        self.codes: NDArray[np.float32] = np.rint(self.vectors / self.scales)
        rests = np.linalg.norm(self.vectors - self.codes * self.scales, axis=1)
        self.errors: NDArray[np.float32] = rests.astype(np.float32) + _ROUNDING
        """(Q,): most that an estimated cosine differs from the exact one: the length that rounding left."""

    def __len__(self) -> int:
        """Q."""
        return len(self.vectors)


class Segment:
    """Rows of one dimension and one scale. Callers see to it that nobody searches while rows change.

    The scan orders rows by the dot product of the probe's codes and theirs, and a cosine is that product over
    the codes' length. Codes of one scale are nearly of one length, so the shortest and the longest bound what
    a row that the scan left out could have reached.
    """

    def __init__(self, dimension: int, scale: float) -> None:
        self.scale = scale
        self.capacity = max(SEGMENT_BYTES // dimension, 1)
        self.keys: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._lengths: NDArray[np.float32] = np.empty(0, dtype=np.float32)
        self._index: Any = faiss.IndexScalarQuantizer(
            dimension, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
        )

    def __len__(self) -> int:
        """Rows held."""
        return len(self.keys)

    @property
    def nbytes(self) -> int:
        """Memory of the rows."""
        return self.keys.nbytes + self._lengths.nbytes + len(self.keys) * int(self._index.d)

    def contents(self) -> Rows:
        """A copy of all rows."""
        codes: NDArray[np.int8] = np.bitwise_xor(self._stored(), _SIGN_BIT).view(np.int8)
        return Rows(self.scale, self.keys.copy(), codes)

    def append(self, keys: NDArray[np.int64], codes: NDArray[np.int8]) -> None:
        """Add rows, codes (n, d); the caller keeps to `capacity`. No row may be all zero."""
        self._index.add_sa_codes(np.bitwise_xor(codes.view(np.uint8), _SIGN_BIT))
        self.keys = np.concatenate([self.keys, keys])
        wide = codes.astype(np.float32)
        self._lengths = np.concatenate([self._lengths, np.sqrt(np.einsum("ij,ij->i", wide, wide))])

    def remove(self, keys: NDArray[np.int64]) -> int:
        """Remove those of `keys` that are here; returns how many were."""
        places = np.flatnonzero(np.isin(self.keys, keys))
        if len(places):
            self._index.remove_ids(places)
            self.keys = np.delete(self.keys, places)
            self._lengths = np.delete(self._lengths, places)
        return len(places)

    def cosines(self, probe: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Cosines (n,) of a unit vector (d,) with the codes of the rows at `places` (n,)."""
        rows = np.bitwise_xor(self._stored()[places], _SIGN_BIT).view(np.int8).astype(np.float64)
        products: NDArray[np.float64] = np.einsum("ij,j->i", rows, probe.astype(np.float64))
        return products / self._lengths[places]

    def search(self, probes: Probes, count: int) -> Candidates:
        """The `count` rows, or all if fewer, that the scan puts first for each probe."""
        count = min(count, len(self))
        products, places = self._index.search(probes.codes, count)
        estimates = products / self._lengths[places] * probes.scales
        if count == len(self):
            bounds = np.full(len(probes), -2.0, dtype=np.float32)
        else:
            last = products[:, -1] * probes.scales[:, 0]
            bounds = np.where(last > 0, last / self._lengths.min(), last / self._lengths.max())
        return Candidates(places, estimates, bounds)

    def _stored(self) -> NDArray[np.uint8]:
        """FAISS's own memory of the codes, (n, d), good until rows change."""
        size = len(self.keys) * int(self._index.d)
        stored: NDArray[np.uint8] = faiss.rev_swig_ptr(self._index.codes.data(), size)
        return stored.reshape(-1, self._index.d)
