"""How alike faces have to be to be one person's, from the calibration of the model that embedded them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Sizes = NDArray[np.float64]

WORKING_POINT = 80.0
"""Similarity at which one pair of different people in a thousand is taken for one person..."""

STRICTEST = 99.0
"""...and the one at which one in a hundred thousand is: calibrations are fitted to both."""

FALSE_FRIENDS = 0.1
"""Strangers that a lone face may be taken for, among all faces, in the mean."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Cosines (-1..1) that two groups of faces have to reach in the mean over all their pairs."""

    lone: float
    """Between two single faces."""
    large: float
    """Between large groups, whose mean says more; at most `lone`."""

    def between(self, first: Sizes, second: Sizes) -> Sizes:
        """The cosine for groups of `first` and `second` faces each: the more, the nearer to `large`."""
        return self.large + (self.lone - self.large) * (1.0 / first + 1.0 / second) / 2.0


def limits_of(cosine_of: Callable[[float], float], faces: int) -> Limits:
    """The limits for so many faces.

    cosine_of: the least cosine of a similarity 0..100 (`Calibration.cosine`).

    A face meets as many strangers as there are faces, so that its limit rises with their number: between the
    two points of the calibration the false match rate falls by a hundred, and goes as a power there.
    """
    wanted = math.log10(FALSE_FRIENDS / max(faces, 1))
    share = min(max((-3.0 - wanted) / 2.0, 0.0), 1.0)
    lone = cosine_of(WORKING_POINT + share * (STRICTEST - WORKING_POINT))
    return Limits(lone=lone, large=min(cosine_of(WORKING_POINT), lone))
