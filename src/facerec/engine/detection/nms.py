"""Non-maximum suppression: of boxes that cover the same face, only the best stays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facerec.engine.base import Floats

MOST_CANDIDATES = 3000
"""Boxes looked at, best first. A face gives about ten, so a crowd fits; no image buys more time than that."""


def suppress(boxes: Floats, scores: Floats, overlap: float) -> NDArray[np.intp]:
    """Indices of the boxes that stay, best score first.

    boxes: (N, 4) float32 left, top, right, bottom in pixels. scores: (N,) float32. A box goes when its
    intersection over union with a better one that stays is above `overlap` (0..1). Sides count as right -
    left + 1, as insightface and its ancestors count them.
    """
    order = np.argsort(-scores, kind="stable")[:MOST_CANDIDATES]
    left, top, right, bottom = boxes[order].T
    areas = (right - left + 1) * (bottom - top + 1)
    waiting = np.arange(len(order))
    kept = []
    while waiting.size:
        best, rest = waiting[0], waiting[1:]
        kept.append(order[best])
        width = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest]) + 1
        height = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest]) + 1
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        waiting = rest[shared <= overlap * (areas[best] + areas[rest] - shared)]
    return np.array(kept, np.intp)
