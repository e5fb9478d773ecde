"""The similarity transform (rotation, one scale, shift) between two sets of points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facerec.errors import InvalidParameter

Points = NDArray[np.floating]


def fit_similarity(source: Points, target: Points) -> NDArray[np.float64]:
    """Least-squares similarity transforms that carry `source` to `target`.

    source: (N, P, 2) points x, y, P >= 2; target: (P, 2), or (N, P, 2). Returns (N, 2, 3) float64 matrices M:
    a point p goes to M[:, :2] @ p + M[:, 2]; the form that cv2.warpAffine takes. Never mirrors.

    In the plane a similarity without mirroring is the complex function z -> a z + b, and least squares gives
    a = sum(conj(z) w) / sum(|z|^2) over the centred points: S. Umeyama, "Least-squares estimation of
    transformation parameters between two point patterns" (1991), with its determinant's sign held positive.

    Raises InvalidParameter when the points of a source set all coincide: they fix no scale.
    """
    z, w = _complex(source), np.broadcast_to(_complex(target), source.shape[:2])
    count = source.shape[1]
    z_mean, w_mean = z.sum(axis=1) / count, w.sum(axis=1) / count
    z, w = z - z_mean[:, None], w - w_mean[:, None]
    spread = (z.real**2 + z.imag**2).sum(axis=1)
    if (spread == 0).any():
        raise InvalidParameter("the landmarks of a face all lie on one point; alignment needs at least two")
    factor = (z.conj() * w).sum(axis=1) / spread
    shift = w_mean - factor * z_mean
    matrices = np.empty((len(source), 2, 3))
    matrices[:, 0, 0] = matrices[:, 1, 1] = factor.real
    matrices[:, 1, 0] = factor.imag
    matrices[:, 0, 1] = -factor.imag
    matrices[:, 0, 2], matrices[:, 1, 2] = shift.real, shift.imag
    return matrices


def _complex(points: Points) -> NDArray[np.complex128]:
    """x, y in the last axis as x + iy."""
    pairs: NDArray[np.complex128] = np.ascontiguousarray(points, np.float64).view(np.complex128)
    return pairs[..., 0]
