import pytest
from hypothesis import given
from hypothesis import strategies as st

from facerec.engine.calibration import Knots
from facerec.errors import PackError

CURVE = Knots(((-1.0, 0.0), (0.1, 0.0), (0.3, 80.0), (0.45, 99.0), (1.0, 100.0)))


def test_knots_are_met_and_lines_lie_between() -> None:
    assert CURVE.similarity(0.3) == pytest.approx(80)
    assert CURVE.similarity(0.2) == pytest.approx(40)
    assert CURVE.similarity(0.375) == pytest.approx(89.5)
    assert CURVE.cosine(80) == pytest.approx(0.3)
    assert CURVE.cosine(99) == pytest.approx(0.45)


def test_flat_parts_give_the_least_cosine() -> None:
    assert CURVE.similarity(-0.5) == 0
    assert CURVE.cosine(0) == -1
    flat = Knots(((-1.0, 0.0), (0.2, 50.0), (0.6, 50.0), (1.0, 100.0)))
    assert flat.cosine(50) == pytest.approx(0.2)


def test_beyond_the_knots_the_curve_is_flat() -> None:
    narrow = Knots(((0.0, 10.0), (0.5, 90.0)))
    assert narrow.similarity(-1) == 10
    assert narrow.similarity(1) == 90
    assert narrow.cosine(5) == -1
    assert narrow.cosine(95) > 1
    assert CURVE.similarity(1.0000001) == 100


@given(st.floats(0, 100))
def test_the_cosine_of_a_similarity_reaches_it(similarity: float) -> None:
    cosine = CURVE.cosine(similarity)
    assert CURVE.similarity(cosine) >= similarity
    if cosine > -1:
        assert CURVE.similarity(cosine - 1e-6) <= similarity


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_similarity_is_monotone(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert CURVE.similarity(low) <= CURVE.similarity(high)


@pytest.mark.parametrize(
    "points",
    [
        (),
        ((0.0, 1.0),),
        ((0.0, 1.0), (0.0, 2.0)),
        ((0.5, 1.0), (0.0, 2.0)),
        ((0.0, 50.0), (1.0, 40.0)),
        ((0.0, -1.0), (1.0, 40.0)),
        ((0.0, 0.0), (1.5, 40.0)),
        ((0.0, 0.0), (float("nan"), 40.0)),
    ],
)
def test_points_that_are_no_curve_are_refused(points: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(PackError, match="calibration"):
        Knots(points)


def test_what_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        CURVE.similarity(float("nan"))
    with pytest.raises(ValueError, match="not a number"):
        CURVE.cosine(float("nan"))
