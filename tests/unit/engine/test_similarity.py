from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facerec.engine.alignment.similarity import fit_similarity
from facerec.errors import InvalidParameter

angles = st.floats(-np.pi, np.pi)
scales = st.floats(0.01, 100)
shifts = st.floats(-1000, 1000)


@given(angle=angles, scale=scales, x=shifts, y=shifts, seed=st.integers(0, 1000))
def test_a_similarity_is_found_again(angle: float, scale: float, x: float, y: float, seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(5, 2)) * 10
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    (matrix,) = fit_similarity(points[None], points @ turn.T + [x, y])
    np.testing.assert_allclose(matrix, np.column_stack([turn, [x, y]]), rtol=1e-6, atol=1e-6 * (scale + 1))


@given(seed=st.integers(0, 1000), count=st.integers(2, 9))
def test_it_is_the_least_squares_one(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    source, target = random.normal(size=(2, count, 2))
    (matrix,) = fit_similarity(source[None], target)
    # The same four numbers from the normal equations of the linear system.
    x, y = source.T
    rows = np.concatenate(
        [
            np.column_stack([x, -y, np.ones(count), np.zeros(count)]),
            np.column_stack([y, x, np.zeros(count), np.ones(count)]),
        ]
    )
    a, b, c, d = np.linalg.lstsq(rows, target.T.ravel(), rcond=None)[0]
    np.testing.assert_allclose(matrix, [[a, -b, c], [b, a, d]], atol=1e-8)


def test_it_never_mirrors() -> None:
    points = np.random.default_rng(3).normal(size=(1, 5, 2))
    (matrix,) = fit_similarity(points, points[0] * [-1, 1])
    assert np.linalg.det(matrix[:, :2]) >= 0


def test_each_set_of_a_batch_is_fitted_alone() -> None:
    random = np.random.default_rng(4)
    source, target = random.normal(size=(2, 6, 5, 2))
    together = fit_similarity(source, target)
    for one, points, goal in zip(together, source, target, strict=True):
        np.testing.assert_allclose(one, fit_similarity(points[None], goal)[0])
    assert fit_similarity(np.empty((0, 5, 2)), target[0]).shape == (0, 2, 3)


def test_points_that_coincide_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="on one point"):
        fit_similarity(np.full((1, 5, 2), 3.0), np.random.default_rng(0).normal(size=(5, 2)))
