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
    source = np.asarray(source, np.float64)
    target = np.broadcast_to(np.asarray(target, np.float64), source.shape)
    source_mean, target_mean = source.mean(axis=1), target.mean(axis=1)
    z = _complex(source - source_mean[:, None])
    w = _complex(target - target_mean[:, None])
    spread = (np.abs(z) ** 2).sum(axis=1)
    if (spread == 0).any():
        raise InvalidParameter("the landmarks of a face all lie on one point; alignment needs at least two")
    factor = (z.conj() * w).sum(axis=1) / spread
    shift = _complex(target_mean) - factor * _complex(source_mean)
    matrices = np.empty((len(source), 2, 3))
    matrices[:, 0] = np.stack([factor.real, -factor.imag, shift.real], axis=1)
    matrices[:, 1] = np.stack([factor.imag, factor.real, shift.imag], axis=1)
    return matrices


def _complex(points: NDArray[np.float64]) -> NDArray[np.complex128]:
    """x, y in the last axis as x + iy."""
    return points[..., 0] + 1j * points[..., 1]
