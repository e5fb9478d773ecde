from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from facerec.engine.detection.nms import MOST_CANDIDATES, suppress


def shared_part(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    area = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return float(width * height / (area[0] + area[1] - width * height))


@given(seed=st.integers(0, 10_000), count=st.integers(0, 60), overlap=st.floats(0.05, 0.95))
def test_what_stays_is_what_a_plain_reading_keeps(seed: int, count: int, overlap: float) -> None:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 200, (count, 2))
    boxes = np.concatenate([corners, corners + random.uniform(5, 80, (count, 2))], axis=1).astype(np.float32)
    scores = random.random(count).astype(np.float32)
    expected: list[int] = []
    for index in np.argsort(-scores):
        if all(shared_part(boxes[index], boxes[kept]) <= overlap + 1e-6 for kept in expected):
            expected.append(int(index))
    assert suppress(boxes, scores, overlap).tolist() == expected


def test_the_best_of_one_face_stays_and_comes_first() -> None:
    boxes = np.array([[0, 0, 50, 50], [200, 0, 250, 50], [2, 2, 52, 52]], np.float32)
    assert suppress(boxes, np.array([0.6, 0.7, 0.9], np.float32), 0.4).tolist() == [2, 1]


def test_a_flood_of_boxes_is_bounded() -> None:
    count = 4 * MOST_CANDIDATES
    left = (np.arange(count) * 10).astype(np.float32)
    boxes = np.stack([left, left * 0, left + 5, left * 0 + 5], axis=1)
    scores = np.linspace(0, 1, count, dtype=np.float32)
    kept = suppress(boxes, scores, 0.4)
    assert len(kept) == MOST_CANDIDATES
    assert kept[0] == count - 1
