"""The arithmetic of verification against cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from facerec.engine.calibration import Knots
from facerec.errors import InvalidParameter
from facerec.services.evaluation import (
    NO_FACE,
    accuracy_at,
    area_under_curve,
    best_threshold,
    calibration_knots,
    cross_validate,
    equal_error,
    group_figures,
    impostor_statistics,
    operating_point,
    roc,
    wilson,
)

# Genuine 0.9 0.8 0.6 0.3, impostor 0.7 0.4 0.2 0.1.
COSINES = np.array([0.9, 0.7, 0.8, 0.4, 0.6, 0.2, 0.3, 0.1])
SAME = np.array([True, False] * 4)


def test_roc_by_hand() -> None:
    curve = roc(COSINES, SAME)
    assert curve.thresholds.tolist() == [0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1]
    assert curve.tar.tolist() == [0.25, 0.5, 0.5, 0.75, 0.75, 1, 1, 1]
    assert curve.far.tolist() == [0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 1]


def test_roc_takes_equal_cosines_together() -> None:
    curve = roc(np.array([0.5, 0.5, 0.5]), np.array([True, False, True]))
    assert (curve.far.tolist(), curve.tar.tolist()) == ([1.0], [1.0])


def test_area_is_the_share_of_pairs_in_order() -> None:
    # 0.9 and 0.8 beat four impostors, 0.6 beats three, 0.3 beats two: 13 of 16.
    assert area_under_curve(COSINES, SAME) == pytest.approx(13 / 16)
    assert area_under_curve(np.array([0.5, 0.5]), np.array([True, False])) == 0.5


def test_equal_error_by_hand() -> None:
    rate, threshold = equal_error(COSINES, SAME)
    assert rate == pytest.approx(0.25)  # at 0.6: one of four impostors in, one of four genuine out
    assert threshold == 0.6


@pytest.mark.parametrize(
    ("far", "tar", "reached"),
    [(0.0, 0.5, 0.0), (0.24, 0.5, 0.0), (0.25, 0.75, 0.25), (0.5, 1.0, 0.5), (1.0, 1.0, 1.0)],
)
def test_operating_point_never_accepts_more_than_allowed(far: float, tar: float, reached: float) -> None:
    point = operating_point(COSINES, SAME, far)
    assert (point.tar, point.reached) == (tar, reached)
    assert point.supported == (far >= 0.25)
    assert point.interval.low < tar <= point.interval.high


def test_a_missing_face_is_never_accepted() -> None:
    cosines = np.array([0.9, NO_FACE, 0.1, NO_FACE])
    same = np.array([True, True, False, False])
    point = operating_point(cosines, same, 1.0)
    assert point.tar == 0.5
    assert best_threshold(np.array([NO_FACE, NO_FACE]), np.array([True, True])) > NO_FACE


def test_best_threshold_lies_midway() -> None:
    assert best_threshold(
        np.array([0.1, 0.2, 0.6, 0.8]), np.array([False, False, True, True])
    ) == pytest.approx(0.4)
    # Cutting at 0.35 errs once, on 0.7; cutting at 0.75 errs on 0.6 and 0.3: the first is better.
    assert accuracy_at(COSINES, SAME, best_threshold(COSINES, SAME)) == 0.75
    assert best_threshold(np.array([0.3, 0.4]), np.array([False, False])) > 0.4
    assert best_threshold(np.array([0.3, 0.4]), np.array([True, True])) < 0.3


def test_best_threshold_does_not_part_equal_cosines() -> None:
    cosines = np.array([0.5, 0.5, 0.9])
    same = np.array([False, True, True])
    assert accuracy_at(cosines, same, best_threshold(cosines, same)) == pytest.approx(2 / 3)


def test_cross_validation_takes_the_threshold_from_the_other_fold() -> None:
    cosines = np.array([0.9, 0.1, 0.5, 0.3])
    same = np.array([True, False, True, False])
    folds = np.array([1, 1, 2, 2])
    result = cross_validate(cosines, same, folds)
    assert result.thresholds == pytest.approx((0.4, 0.5))
    assert result.accuracies == (1.0, 1.0)
    shifted = cross_validate(np.array([0.9, 0.1, 0.3, 0.2]), same, folds)
    assert shifted.thresholds == pytest.approx((0.25, 0.5))
    assert shifted.accuracies == (1.0, 0.5)
    assert shifted.accuracy == 0.75
    assert shifted.spread == pytest.approx(0.25)
    with pytest.raises(InvalidParameter, match="two folds"):
        cross_validate(cosines, same, np.zeros(4, np.int64))


def test_wilson_by_hand() -> None:
    # Published example (Newcombe 1998, table I): 81 of 263 gives 0.2553 to 0.3662.
    interval = wilson(81, 263)
    assert (interval.low, interval.high) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    # And 0 of 20: 0 to 0.1611.
    assert wilson(0, 20).low == 0.0
    assert wilson(0, 20).high == pytest.approx(0.1611, abs=1e-4)
    assert wilson(20, 20).high == 1.0
    assert wilson(0, 0) == type(interval)(0.0, 1.0)


def test_one_kind_alone_measures_nothing() -> None:
    with pytest.raises(InvalidParameter, match="2 pairs of one person and 0 of two"):
        roc(np.array([0.1, 0.2]), np.array([True, True]))


def test_groups_share_one_threshold() -> None:
    figures = group_figures(COSINES, SAME, ["b", "b", "b", "b", "a", "a", "a", "a"], 0.5)
    assert [figure.group for figure in figures] == ["a", "b"]
    assert (figures[0].tar, figures[0].far, figures[0].accuracy) == (0.5, 0.0, 0.75)
    assert (figures[1].tar, figures[1].far, figures[1].accuracy) == (1.0, 0.5, 0.75)


def test_impostors_are_all_pairs_of_different_persons() -> None:
    embeddings = np.array([[1, 0], [1, 0], [0, 1], [0.6, 0.8]], np.float32)
    statistics = impostor_statistics(embeddings, ["a", "a", "b", "c"])
    assert statistics.count == 5
    assert statistics.mean == pytest.approx((0 + 0.6 + 0 + 0.6 + 0.8) / 5)
    assert statistics.threshold(0.2) == pytest.approx(0.6, abs=2e-4)
    assert statistics.threshold(0.0) == pytest.approx(0.8, abs=2e-4)
    assert statistics.threshold(1.0) == -1.0


def test_impostors_over_several_blocks_equal_the_full_matrix() -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(1300, 16)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    persons = [str(number // 2) for number in range(1300)]
    statistics = impostor_statistics(embeddings, persons)
    rows, columns = np.triu_indices(1300, 1)
    others = rows // 2 != columns // 2
    cosines = (embeddings @ embeddings.T)[rows[others], columns[others]]
    assert statistics.count == len(cosines)
    assert statistics.mean == pytest.approx(cosines.mean(), abs=1e-6)
    assert statistics.deviation == pytest.approx(cosines.std(), abs=1e-5)
    assert (cosines >= statistics.threshold(1e-3)).mean() <= 1e-3
    assert statistics.threshold(1e-3) == pytest.approx(np.quantile(cosines, 0.999), abs=1e-3)


def test_calibration_puts_80_at_the_working_point() -> None:
    rng = np.random.default_rng(1)
    embeddings = rng.normal(size=(1200, 64)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    statistics = impostor_statistics(embeddings, [str(number) for number in range(1200)])
    curve = Knots(calibration_knots(statistics))
    assert curve.similarity(statistics.threshold(1e-3)) == pytest.approx(80, abs=0.1)
    assert curve.similarity(statistics.threshold(statistics.strictest)) == pytest.approx(99, abs=0.1)
    assert curve.similarity(0.0) == pytest.approx(5, abs=0.5)


def test_calibration_of_too_few_pairs_is_refused() -> None:
    statistics = impostor_statistics(np.eye(20, dtype=np.float32), [str(n) for n in range(20)])
    assert statistics.count == 190
    assert math.isclose(statistics.strictest, 10 / 190)
    with pytest.raises(InvalidParameter, match=r"190 pairs .* at least 20000"):
        calibration_knots(statistics)


def test_calibration_rises_even_when_all_impostors_score_alike() -> None:
    statistics = impostor_statistics(np.eye(300, dtype=np.float32), [str(n) for n in range(300)])
    Knots(calibration_knots(statistics))
