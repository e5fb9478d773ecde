from dataclasses import fields, replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from facerec.domain import BoundingBox, DetectedFace, Pose, Quality, QualityFilter, Reason
from facerec.engine.base import Picture, Pixels
from facerec.engine.fake import FakeEngine, FakeFace, draw
from facerec.engine.quality import BARS, assess, rejections

PICTURE = Picture(np.zeros((1000, 1000, 3), np.uint8))
GOOD = DetectedFace(
    box=BoundingBox(left=0.4, top=0.4, width=0.2, height=0.2),
    confidence=99,
    landmarks=(),
    pose=Pose(roll=170, yaw=0, pitch=0),
    quality=Quality(brightness=70, sharpness=70),
)
STRICTNESS = (QualityFilter.AUTO, QualityFilter.LOW, QualityFilter.MEDIUM, QualityFilter.HIGH)


def flat(level: int, side: int = 100) -> Pixels:
    return np.full((side, side, 3), level, np.uint8)


def textured(side: int) -> Pixels:
    """Smoothed noise: detail at every scale, as a face has."""
    noise = np.random.default_rng(4).normal(size=(side, side)).astype(np.float32)
    layers = [cv2.GaussianBlur(noise, (0, 0), sigma) * sigma**1.5 for sigma in (0.7, 2, 5, 12, 25)]
    total = np.sum(layers, axis=0)
    grey = np.clip(128 + 40 * total / total.std(), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def whole(image: Pixels) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array([0, 0, image.shape[1], image.shape[0]], np.float32)


def test_brightness_runs_from_black_to_white() -> None:
    levels = [assess(flat(level), whole(flat(level))).brightness for level in (0, 30, 90, 128, 180, 255)]
    assert levels[0] == 0
    assert levels[-1] == 100
    assert levels == sorted(levels)
    assert 50 < levels[2] < levels[4] < 90


def test_brightness_is_that_of_the_box() -> None:
    image = flat(20, 200)
    image[50:150, 50:150] = 200
    inside = assess(image, np.array([50, 50, 150, 150], np.float32)).brightness
    assert inside == pytest.approx(assess(flat(200), whole(flat(200))).brightness)


def test_a_flat_region_is_not_sharp() -> None:
    assert assess(flat(128), whole(flat(128))).sharpness == 0


def test_sharpness_falls_with_blur_and_with_lost_resolution() -> None:
    image = textured(160)
    blurred = [
        assess(cv2.GaussianBlur(image, (0, 0), sigma).astype(np.uint8), whole(image)).sharpness
        for sigma in (0.5, 1, 2, 4, 8)
    ]
    scores = [assess(image, whole(image)).sharpness, *blurred]
    assert all(after < before or after == 0 for before, after in pairwise(scores))
    small = [
        cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8)
        for side in (100, 60, 30, 15)
    ]
    scores = [assess(image, whole(image)).sharpness, *(assess(i, whole(i)).sharpness for i in small)]
    assert all(after < before for before, after in pairwise(scores))


def test_sharpness_does_not_follow_exposure() -> None:
    image = textured(160)
    dark = (image * 0.5).astype(np.uint8)
    assert assess(dark, whole(dark)).sharpness == pytest.approx(assess(image, whole(image)).sharpness, abs=3)


@pytest.mark.parametrize(
    "box",
    [
        [-50, -50, 60, 60],
        [90, 90, 300, 300],
        [500, 500, 600, 600],
        [-9, -9, -1, -1],
        [40, 40, 40, 40],
        [40, 40, 41, 41],
    ],
)
def test_boxes_beyond_the_edge_give_numbers(box: list[float]) -> None:
    quality = assess(flat(128), np.array(box, np.float32))
    assert 0 <= quality.brightness <= 100
    assert 0 <= quality.sharpness <= 100


def test_a_good_face_passes_every_filter_in_any_roll() -> None:
    for quality_filter in QualityFilter:
        assert rejections(GOOD, quality_filter, PICTURE) == ()


@pytest.mark.parametrize(
    ("face", "reason"),
    [
        (replace(GOOD, confidence=20), Reason.LOW_CONFIDENCE),
        (replace(GOOD, quality=Quality(brightness=5, sharpness=70)), Reason.LOW_BRIGHTNESS),
        (replace(GOOD, quality=Quality(brightness=100, sharpness=70)), Reason.LOW_FACE_QUALITY),
        (replace(GOOD, quality=Quality(brightness=70, sharpness=2)), Reason.LOW_SHARPNESS),
        (replace(GOOD, pose=Pose(roll=0, yaw=-85, pitch=0)), Reason.EXTREME_POSE),
        (replace(GOOD, pose=Pose(roll=0, yaw=0, pitch=80)), Reason.EXTREME_POSE),
        (replace(GOOD, box=BoundingBox(left=0, top=0, width=0.02, height=0.3)), Reason.SMALL_BOUNDING_BOX),
    ],
)
def test_each_fault_has_its_reason(face: DetectedFace, reason: Reason) -> None:
    for quality_filter in STRICTNESS:
        assert rejections(face, quality_filter, PICTURE) == (reason,)
    assert rejections(face, QualityFilter.NONE, PICTURE) == ()


def test_filters_grow_stricter() -> None:
    for looser, stricter in pairwise(STRICTNESS):
        for field in fields(BARS[looser]):
            before, after = getattr(BARS[looser], field.name), getattr(BARS[stricter], field.name)
            if field.name in {"yaw", "pitch", "too_bright"}:
                assert after < before, field.name
            else:
                assert after > before, field.name


def test_the_fake_engine_s_faults_are_rejected() -> None:
    engine = FakeEngine()
    picture = engine.decode(
        draw(
            "good",
            FakeFace("dim", dim=True),
            FakeFace("blurred", blurred=True),
            FakeFace("turned", turned=True),
            FakeFace("uncertain", uncertain=True),
            FakeFace("small", small=True),
        )
    )
    found = [rejections(f.face, QualityFilter.AUTO, picture) for f in engine.detect(picture)]
    assert found == [
        (),
        (Reason.LOW_BRIGHTNESS,),
        (Reason.LOW_SHARPNESS,),
        (Reason.EXTREME_POSE,),
        (Reason.LOW_CONFIDENCE,),
        (Reason.SMALL_BOUNDING_BOX,),
    ]
