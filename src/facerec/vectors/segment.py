"""A few megabytes of an index: FAISS codes, the row keys and the codes' lengths, searched exactly."""

from __future__ import annotations

from typing import Any, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

SEGMENT_BYTES = 8 * 2**20
"""Codes of a segment. Small enough for a processor's cache, so that a batch of probes reads memory once;
large enough that the call for each segment costs nothing beside the scan."""

_MARGIN = 1e-5
"""Relative error allowed to FAISS's float32 sums in a bound."""

# FAISS keeps a signed code as the byte code + 128; flipping the highest bit is the same.
_SIGN_BIT = np.uint8(0x80)


class Rows(NamedTuple):
    """Vectors of one scale."""

    scale: float
    keys: NDArray[np.int64]
    """(n,)."""
    codes: NDArray[np.int8]
    """(n, d)."""


class Candidates(NamedTuple):
    """A segment's nearest rows for each of Q probes, F each."""

    keys: NDArray[np.int64]
    """(Q, F)."""
    cosines: NDArray[np.float32]
    """(Q, F), exact for the stored codes."""
    bounds: NDArray[np.float32]
    """(Q,): no row that was left out has a higher cosine; -2 where none was left out."""


class Segment:
    """Rows of one dimension and one scale. Callers see to it that nobody searches while rows change.

    The scan orders rows by the dot product of probe and codes, and a cosine is that product over the codes'
    length. Codes of one scale are nearly of one length, so the shortest and the longest bound what a row that
    the scan left out could have reached.
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

    def codes(self) -> NDArray[np.int8]:
        """A copy of the rows' codes, int8 (n, d), in the order of `keys`."""
        size = len(self.keys) * self._index.d
        if size == 0:
            return np.empty((0, self._index.d), dtype=np.int8)
        stored: NDArray[np.uint8] = faiss.rev_swig_ptr(self._index.codes.data(), size)
        codes: NDArray[np.int8] = np.bitwise_xor(stored, _SIGN_BIT).view(np.int8)
        return codes.reshape(-1, self._index.d)

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

    def search(self, probes: NDArray[np.float32], count: int) -> Candidates:
        """The `count` rows, or all if fewer, with the largest dot products with each probe (Q, d)."""
        count = min(count, len(self))
        products, places = self._index.search(probes, count)
        cosines = products / self._lengths[places]
        if count == len(self):
            bounds = np.full(len(probes), -2.0, dtype=np.float32)
        else:
            last = products[:, -1]
            reach = np.where(last > 0, last / self._lengths.min(), last / self._lengths.max())
            bounds = (reach + _MARGIN).astype(np.float32)
        return Candidates(self.keys[places], cosines, bounds)
