"""When a face is somebody, and when it is nobody: the rule for a search among many persons.

With every person that a stranger is compared with there is one more chance to be taken for somebody. A
threshold that is right between two faces is far too low among a thousand. So the threshold follows from how
many persons there are, and from how many strangers of a thousand may be taken for one.
"""

from __future__ import annotations

import math

from facerec.engine.base import Calibration

STRANGERS_TAKEN = 5e-4
"""Share of strangers that may be taken for somebody, however many persons there are."""

WORKING_POINT, WORKING_RATE = 80.0, 1e-3
"""Similarity at which a pack's calibration has this false match rate between two faces."""

STRICT_POINT, STRICT_RATE = 99.0, 1e-5
"""As above, where a pack's data goes as far as that; at least it is the strictest that they support."""


def least_cosine(calibration: Calibration, persons: int) -> float:
    """The cosine from which a face is taken to be one of so many persons.

    The false match rate falls by a constant factor for each step of cosine between the two points that the
    calibration knows, and is taken to go on so: the tail of a bell curve falls faster, so the threshold is
    rather too high.
    """
    wanted = STRANGERS_TAKEN / max(persons, 1)
    working, per_decade = _line(calibration)
    return min(working + per_decade * math.log10(WORKING_RATE / wanted), 1.0)


def confidence(calibration: Calibration, cosine: float, persons: int) -> float:
    """How sure it is, 0..100, that a face with this cosine to one of so many persons is no stranger's.

    The share of strangers who would not come as near to anybody.
    """
    working, per_decade = _line(calibration)
    rate = min(WORKING_RATE * math.pow(10.0, (working - cosine) / per_decade), 1.0)
    return 100.0 * math.pow(1.0 - rate, max(persons, 1))


def _line(calibration: Calibration) -> tuple[float, float]:
    """The cosine of the working point, and how much further is needed for a tenth of the false matches."""
    working = calibration.cosine(WORKING_POINT)
    strict = calibration.cosine(STRICT_POINT)
    decades = math.log10(WORKING_RATE / STRICT_RATE)
    return working, max(strict - working, 1e-3) / decades
