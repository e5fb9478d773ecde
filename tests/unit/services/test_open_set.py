from __future__ import annotations

from itertools import pairwise

import pytest

from facerec.engine.calibration import Knots
from facerec.services.open_set import confidence, least_cosine

CALIBRATION = Knots(((-1.0, 0.0), (0.3, 80.0), (0.5, 99.0), (1.0, 100.0)))


def test_ten_times_the_persons_need_a_tenth_of_the_false_matches() -> None:
    """From similarity 80 to 99, 0.2 of cosine, the rate falls by a hundred: 0.1 for each factor of ten."""
    steps = [least_cosine(CALIBRATION, persons) for persons in (1, 10, 100, 1000)]
    assert [after - before for before, after in pairwise(steps)] == pytest.approx([0.1] * 3)
    # One person at a rate of 1e-3 would be 0.3; half of that rate is asked for.
    assert steps[0] == pytest.approx(0.3301, abs=1e-4)
    assert least_cosine(CALIBRATION, 10**12) == 1.0
    assert least_cosine(CALIBRATION, 0) == steps[0]


def test_confidence_is_the_share_of_strangers_who_would_not_come_as_near() -> None:
    assert confidence(CALIBRATION, 0.3, 1) == pytest.approx(99.9)
    assert confidence(CALIBRATION, 0.5, 100) == pytest.approx(99.9, abs=1e-2)
    assert confidence(CALIBRATION, least_cosine(CALIBRATION, 5000), 5000) == pytest.approx(99.95, abs=1e-3)
    assert confidence(CALIBRATION, -0.2, 10) == 0.0
    rising = [confidence(CALIBRATION, cosine, 50) for cosine in (0.0, 0.2, 0.4, 0.6)]
    assert rising == sorted(rising)


def test_a_calibration_without_a_strict_point_still_rises() -> None:
    short = Knots(((0.0, 0.0), (0.4, 80.0), (0.4001, 100.0)))
    assert least_cosine(short, 1) < least_cosine(short, 1000) <= 1.0
