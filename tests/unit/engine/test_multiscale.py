from __future__ import annotations

import numpy as np
import pytest

from facerec.engine.base import Detections, Floats, Pixels
from facerec.engine.detection.multiscale import Scales, fixed_canvas, view
from facerec.errors import ConfigurationError, PackError


def white(height: int, width: int) -> Pixels:
    return np.full((height, width, 3), 255, np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "size", "canvas"),
    [
        (640, 640, 640, (640, 640)),
        (533, 800, 640, (480, 640)),
        (3000, 2000, 640, (640, 480)),
        (250, 250, 160, (160, 160)),
        (2, 5000, 640, (160, 640)),
        (1, 1, 32, (32, 32)),
    ],
)
def test_a_canvas_holds_the_image_and_little_more(
    height: int, width: int, size: int, canvas: tuple[int, int]
) -> None:
    seen = view(white(height, width), size, None)
    assert seen.canvas.shape == (*canvas, 3)
    rows, columns = np.flatnonzero(seen.canvas[:, 0, 0]), np.flatnonzero(seen.canvas[0, :, 0])
    assert max(len(rows), len(columns)) == size
    assert seen.scale.tolist() == pytest.approx([len(columns) / width, len(rows) / height])
    assert seen.canvas[: len(rows), : len(columns)].min() == 255
    assert seen.canvas[len(rows) :].max(initial=0) == 0
    assert seen.canvas[:, len(columns) :].max(initial=0) == 0


def test_a_fixed_canvas_is_kept_and_holds_smaller_sizes() -> None:
    assert view(white(300, 600), 160, (640, 640)).canvas.shape == (640, 640, 3)
    assert view(white(300, 600), 2000, (480, 640)).scale.tolist() == pytest.approx([0.8, 0.8])


def test_the_canvas_of_a_network_is_read_from_its_input() -> None:
    assert fixed_canvas((1, 3, 480, 640)) == (480, 640)
    assert fixed_canvas((1, 3, None, None)) is None
    assert fixed_canvas((None, 3, None, 640)) is None
    for shape in ((1, 3, 640), (8, 3, 640, 640), (1, 640, 640, 3)):
        with pytest.raises(PackError, match="a detector takes inputs"):
            fixed_canvas(shape)


@pytest.mark.parametrize("sizes", [(), (16,), (640, 0), (-640,)])
def test_unusable_sizes_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationError, match="detection sizes"):
        Scales(sizes, 0.4)


class Spotter:
    """Finds a canvas's one white square if its side is within its reach; remembers what it looked at."""

    def __init__(self, least: int, most: int, *, points: bool = True) -> None:
        self.least, self.most, self.points = least, most, points
        self.looked: list[tuple[int, ...]] = []

    def __call__(self, canvas: Pixels) -> Detections:
        self.looked.append(canvas.shape[:2])
        rows, columns = np.nonzero(canvas[:, :, 0] > 127)
        box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
        side = box[0, 2] - box[0, 0]
        keep = slice(1 if self.least <= side <= self.most else 0)
        middle = (box[:, :2] + box[:, 2:]) / 2
        points: Floats = np.repeat(middle[:, None], 5, axis=1)
        return Detections(
            box[keep], np.array([0.5 + side / 2000], np.float32)[keep], points[keep] if self.points else None
        )


def square(height: int, width: int, left: int, top: int, side: int) -> Pixels:
    image = np.zeros((height, width, 3), np.uint8)
    image[top : top + side, left : left + side] = 255
    return image


def test_what_one_size_misses_another_finds() -> None:
    spotter = Spotter(least=20, most=200)
    near = Scales((640, 160), 0.4).detect(square(1000, 1000, 100, 100, 800), spotter)
    far = Scales((640, 160), 0.4).detect(square(1000, 1000, 500, 300, 60), spotter)
    np.testing.assert_allclose(near.boxes, [[100, 100, 900, 900]], atol=4)
    np.testing.assert_allclose(far.boxes, [[500, 300, 560, 360]], atol=2)
    assert far.landmarks is not None
    np.testing.assert_allclose(far.landmarks, np.tile([530, 330], (1, 5, 1)), atol=2)


def test_a_face_found_at_two_sizes_is_one_face_and_the_better_look_is_kept() -> None:
    spotter = Spotter(least=20, most=2000)
    faces = Scales((160, 640), 0.4).detect(square(1000, 1000, 200, 300, 500), spotter)
    assert len(faces.boxes) == 1
    assert faces.scores[0] == pytest.approx(0.5 + 320 / 2000, abs=0.01)


@pytest.mark.parametrize(
    ("side", "looked"),
    [(64, [96]), (200, [288]), (250, [288]), (257, [288]), (353, [384, 160]), (2000, [640, 160])],
)
def test_small_images_are_enlarged_a_little_and_not_looked_at_twice_alike(
    side: int, looked: list[int]
) -> None:
    spotter = Spotter(least=1, most=2000)
    Scales((160, 640), 0.4).detect(square(side, side, 10, 10, 30), spotter)
    assert spotter.looked == [(canvas, canvas) for canvas in looked]


def test_a_small_image_is_looked_at_again_where_nothing_was_found() -> None:
    spotter = Spotter(least=20, most=150)
    faces = Scales((160, 640), 0.4).detect(square(320, 320, 10, 10, 250), spotter)
    assert spotter.looked == [(320, 320), (160, 160)]
    np.testing.assert_allclose(faces.boxes, [[10, 10, 260, 260]], atol=2)


def test_an_image_of_a_canvas_s_size_is_seen_as_it_is() -> None:
    image = np.random.default_rng(3).integers(0, 256, (250, 256, 3), dtype=np.uint8)
    seen = view(image, 256, None)
    assert np.array_equal(seen.canvas[:250], image)
    assert seen.canvas[250:].max() == 0
    assert seen.scale.tolist() == [1, 1]


def test_boxes_without_landmarks_pass() -> None:
    faces = Scales((640, 160), 0.4).detect(square(700, 600, 50, 60, 300), Spotter(1, 2000, points=False))
    assert faces.landmarks is None
    assert len(faces.boxes) == 1
