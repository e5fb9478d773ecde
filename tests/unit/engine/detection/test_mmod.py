"""Arithmetic of the MMOD detector: its canvas, the way back from it, suppression, confidences and looks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from facerec.engine.base import Floats
from facerec.engine.detection.mmod import MmodDetector, confidence, decode, lay_out, score, suppress
from facerec.errors import PackError

NMS = 0.3382761351109955


class Spots:
    """A network that scores 1 at one place of canvases of given sizes, and remembers what it was shown."""

    input_names: tuple[str, ...] = ("canvas",)
    output_names: tuple[str, ...] = ("scores",)
    input_shape: tuple[int | None, ...] = (1, 3, None, None)

    def __init__(self, spots: dict[tuple[int, int], tuple[int, int]]) -> None:
        self.spots = spots
        self.shown: list[tuple[int, int]] = []

    def run(self, *inputs: NDArray[np.generic]) -> list[Floats]:
        height, width = inputs[0].shape[2:]
        self.shown.append((width, height))
        scores = np.full((1, 1, height // 8 - 2, width // 8 - 2), -1, np.float32)
        if (width, height) in self.spots:
            column, row = self.spots[width, height]
            scores[0, 0, row, column] = 1
        return [scores]


def detector(session: Spots, sizes: tuple[int, ...]) -> MmodDetector:
    return MmodDetector(session, threshold=0.5, nms=NMS, sizes=sizes)


@pytest.mark.parametrize(
    ("width", "height", "levels", "rows", "columns"), [(250, 250, 20, 957, 272), (640, 480, 24, 1782, 662)]
)
def test_the_canvas_is_dlibs(width: int, height: int, levels: int, rows: int, columns: int) -> None:
    layout = lay_out(width, height)
    assert (len(layout.tiles), layout.height, layout.width) == (levels, rows, columns)


@pytest.mark.parametrize(("width", "height"), [(250, 250), (1920, 1080), (60, 400), (400, 16), (37, 91)])
def test_tiles_lie_apart_on_the_canvas(width: int, height: int) -> None:
    layout = lay_out(width, height)
    taken = np.zeros((layout.height, layout.width), bool)
    for tile in layout.tiles:
        place = taken[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
        assert place.shape == (tile.height, tile.width)
        assert not place.any()
        place[:] = True


def test_a_box_finds_the_way_back_through_its_level() -> None:
    layout = lay_out(250, 250)
    scores = np.full((117, 31), -1.0, np.float32)
    scores[10, 12] = 0.5  # canvas centre (110, 94): in the first tile, whose corner is (11, 11)
    second = layout.tiles[1]
    assert (second.left, second.top, second.width) == (11, 271, 208)
    scores[44, 12] = 1.0  # canvas centre (110, 366): in the second tile, at (99, 95) of it
    boxes, found = decode(scores, layout, 0.0)
    np.testing.assert_array_equal(found, [1.0, 0.5])
    # Level 1: 99 -/+ 39.5, times 1.2, plus 0.3, rounded. Level 0: 99 -/+ 39.5, halves away from zero.
    np.testing.assert_array_equal(boxes, [[72, 67, 167, 162], [60, 44, 139, 123]])


def test_scores_at_the_threshold_are_no_faces() -> None:
    boxes, found = decode(np.zeros((117, 31), np.float32), lay_out(250, 250), 0.0)
    assert boxes.shape == (0, 4)
    assert found.shape == (0,)


def test_suppression_divides_by_the_rectangle_around_both() -> None:
    first = [0, 0, 99, 99]
    near = [50, 0, 149, 99]  # shares 50 of 150 columns: a third, kept; IoU is the same here
    corner = [-40, -40, 59, 59]  # shares 3600 of 140 * 140: 18 %; IoU would be 22 %
    inside = [20, 20, 79, 79]  # shares all its 3600 of 10000: 36 %
    boxes = np.array([first, near, corner, inside], np.float64)
    assert list(suppress(boxes, NMS)) == [0, 1, 2]
    assert list(suppress(boxes, 0.33)) == [0, 2]
    assert list(suppress(boxes[[0, 2]], 0.2)) == [0, 1]
    assert list(suppress(boxes[:0], NMS)) == []


def test_confidence_rises_with_the_margin_and_turns_back() -> None:
    margins = np.array([-1, 0, 0.5, 1, 1.1], np.float32)
    confidences = confidence(margins)
    np.testing.assert_allclose(confidences[[1, 3]], [0.5, 0.99], atol=1e-6)
    assert (np.diff(confidences) > 0).all()
    np.testing.assert_allclose([score(float(value)) for value in confidences], margins, atol=1e-3)
    assert (score(0.0), score(1.0)) == (-1.0, 2.0)


def test_a_large_face_at_the_first_look_is_enough() -> None:
    session = Spots({(272, 957): (12, 10)})
    found = detector(session, (640, 1920)).detect(np.zeros((250, 250, 3), np.uint8))
    np.testing.assert_array_equal(found.boxes, [[60, 44, 139, 123]])
    assert found.landmarks is None
    assert len(session.shown) == 1


def test_without_a_large_face_the_image_is_looked_at_closer_step_by_step() -> None:
    session = Spots({(1022, 1022): (12, 10)})
    found = detector(session, (640, 1920)).detect(np.zeros((400, 400, 3), np.uint8))
    # From 2.5 times the size down to the size itself, which is the first look, in steps of 1.2.
    enlarged = [(side + 22, side + 22) for side in (1000, 833, 693, 577, 480)]
    assert session.shown == [(422, lay_out(400, 400).height), *enlarged]
    # A box from 59.5 to 139.5 pixel edges at 2.5 times the size is 32 pixels wide.
    left, _, right, _ = found.boxes[0]
    assert left == pytest.approx(23.7)
    assert right == pytest.approx(55.3)


def test_what_two_steps_find_is_one_face() -> None:
    # Both spots lie at (116, 100) of the picture, give or take a cell of 8 pixels.
    session = Spots({(1022, 1022): (36, 31), (855, 855): (30, 25)})
    found = detector(session, (640, 1920)).detect(np.zeros((400, 400, 3), np.uint8))
    assert len(found.boxes) == 1
    apart = Spots({(1022, 1022): (36, 31), (855, 855): (70, 70)})
    assert len(detector(apart, (640, 1920)).detect(np.zeros((400, 400, 3), np.uint8)).boxes) == 2


def test_what_the_first_look_saw_stays_found() -> None:
    pyramid = lay_out(400, 400)
    session = Spots({(pyramid.width, pyramid.height): (12, 10), (1022, 1022): (100, 100)})
    found = detector(session, (640, 1920)).detect(np.zeros((400, 400, 3), np.uint8))
    assert sorted(found.boxes[:, 2] - found.boxes[:, 0]) == pytest.approx([31.6, 79.0])


def test_a_large_image_is_never_seen_larger_than_the_last_size() -> None:
    session = Spots({})
    found = detector(session, (640, 1920)).detect(np.zeros((3000, 4000, 3), np.uint8))
    widths = [width - 22 for width, _ in session.shown]
    assert widths[:2] == [640, 1920]
    assert 640 < min(widths[2:]) < 1.22 * 640
    assert all(larger / smaller < 1.23 for larger, smaller in pairwise(widths[1:]))
    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == (0,)


def test_one_size_is_one_look() -> None:
    session = Spots({})
    detector(session, (500,)).detect(np.zeros((100, 400, 3), np.uint8))
    assert [width for width, _ in session.shown] == [522]


@pytest.mark.parametrize("shape", [(1, 1), (3, 9000), (9000, 5), (2, 30)])
def test_a_sliver_has_no_face(shape: tuple[int, int]) -> None:
    session = Spots({})
    assert len(detector(session, (640, 1920)).detect(np.zeros((*shape, 3), np.uint8)).boxes) == 0
    assert session.shown == []


def test_sizes_have_to_be_pixels() -> None:
    with pytest.raises(PackError, match="sizes"):
        detector(Spots({}), ())
