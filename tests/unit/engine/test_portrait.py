from __future__ import annotations

import cv2
import numpy as np
import pytest

from facerec.domain import BoundingBox, Portrait
from facerec.engine.base import Detections, Floats, LandmarkLayout, Pixels
from facerec.engine.portrait import examine, uprightness

WHOLE = BoundingBox(left=0.2, top=0.2, width=0.6, height=0.6)
SKIN = (205, 150, 120)
EYES = np.array([[80, 90], [130, 90]], np.float32)


def face(
    *, left_light: float = 1.0, mask: tuple[int, int, int] | None = None, glasses: bool = False
) -> Pixels:
    """Skin with eyes, on a canvas of 200 x 200; the distance of the eyes is 50 pixels."""
    image = np.full((200, 200, 3), SKIN, np.uint8)
    for x, y in EYES.astype(int).tolist():
        cv2.circle(image, (x, y), 5, (60, 40, 30), -1)
        if glasses:
            cv2.circle(image, (x, y), 16, (15, 15, 15), -1)
    if mask:
        image[115:190, 50:160] = mask
    image[:, :105] = (image[:, :105] * left_light).astype(np.uint8)
    return image


def judged(image: Pixels, *, box: BoundingBox = WHOLE, eyes: Floats = EYES) -> Portrait:
    landmarks = np.vstack([eyes, [[105, 115], [85, 140], [125, 140]]]).astype(np.float32)
    return examine(image, box, landmarks, LandmarkLayout.FIVE)


def test_an_open_face_in_even_light() -> None:
    portrait = judged(face())
    assert portrait.inside == pytest.approx(1)
    assert portrait.evenness > 95
    assert portrait.mouth_covered < 5
    assert portrait.eyes_covered < 60


def test_light_from_one_side() -> None:
    assert judged(face(left_light=0.25)).evenness < 40
    assert judged(face(left_light=0.25)[:, ::-1].copy(), eyes=EYES - 10).evenness < 45


@pytest.mark.parametrize("colour", [(150, 190, 225), (240, 240, 240), (25, 25, 25)])
def test_a_mask_has_another_colour_than_the_brow(colour: tuple[int, int, int]) -> None:
    assert judged(face(mask=colour)).mouth_covered > 95


def test_a_picture_without_colours_shows_no_mask() -> None:
    grey = cv2.cvtColor(face(mask=(150, 190, 225)), cv2.COLOR_RGB2GRAY)
    assert judged(np.repeat(grey[..., None], 3, axis=2)).mouth_covered < 5


def test_dark_glasses() -> None:
    assert judged(face(glasses=True)).eyes_covered > 75


def test_a_face_beyond_the_edge() -> None:
    box = BoundingBox(left=-0.3, top=0.5, width=0.6, height=1.0)
    assert judged(face(), box=box).inside == pytest.approx(0.25)


def test_the_same_of_dlibs_landmarks_and_of_a_turned_face() -> None:
    """dlib names the person's own sides; the crop is turned upright by the eyes."""
    corners = np.array([[137, 90], [123, 90], [73, 90], [87, 90], [105, 115]], np.float32)
    image = face(left_light=0.5)
    five = judged(image)
    assert examine(image, WHOLE, corners, LandmarkLayout.EYE_CORNERS).evenness == pytest.approx(five.evenness)
    turn = cv2.getRotationMatrix2D((100, 100), 30, 1)
    turned = np.asarray(cv2.warpAffine(image, turn, (200, 200), borderMode=cv2.BORDER_REPLICATE), np.uint8)
    eyes = np.asarray(EYES @ turn[:, :2].T + turn[:, 2], np.float32)
    assert judged(turned, eyes=eyes).evenness == pytest.approx(five.evenness, abs=3)


def test_landmarks_that_fix_nothing_give_the_worst() -> None:
    portrait = judged(face(), eyes=np.full((2, 2), 80, np.float32))
    assert (portrait.contrast, portrait.evenness, portrait.eyes_covered) == (0, 0, 100)


class TopIsBright:
    """A detector that is the surer the brighter the upper half is."""

    def detect(self, image: Pixels) -> Detections:
        score = image[: len(image) // 2].mean() / 255
        return Detections(np.zeros((1, 4), np.float32), np.array([score], np.float32), None)


def test_a_picture_on_its_head_is_surer_when_turned() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[:50] = 255
    box = np.array([30, 30, 70, 70], np.float32)
    assert uprightness(TopIsBright(), image, box) > 30
    assert uprightness(TopIsBright(), image[::-1].copy(), box) < -30
