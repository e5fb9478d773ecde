"""What to tell somebody who stands before a camera to be enrolled."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from facerec.domain import DetectedFace, Fault, Pose
from facerec.services.enrolment import Finding

TURNED = 10.0
"""Degrees of yaw from which a picture shows a side of the face."""

ENOUGH = 3
"""Pictures from which a person is known well: from the front, and from both sides a little."""


class Hint(StrEnum):
    """What to do next. "Left" and "right" are the person's own; a front camera's picture is not mirrored."""

    COME_CLOSER = "COME_CLOSER"
    MORE_LIGHT = "MORE_LIGHT"
    LESS_LIGHT = "LESS_LIGHT"
    EVEN_LIGHT = "EVEN_LIGHT"
    HOLD_STILL = "HOLD_STILL"
    INTO_THE_FRAME = "INTO_THE_FRAME"
    ONE_PERSON_ALONE = "ONE_PERSON_ALONE"
    UPRIGHT = "UPRIGHT"
    TURN_LEFT = "TURN_LEFT"
    TURN_RIGHT = "TURN_RIGHT"
    CHIN_DOWN = "CHIN_DOWN"
    CHIN_UP = "CHIN_UP"
    UNCOVER_EYES = "UNCOVER_EYES"
    UNCOVER_MOUTH = "UNCOVER_MOUTH"
    TRY_AGAIN = "TRY_AGAIN"
    ENOUGH = "ENOUGH"


TEXTS = {
    Hint.COME_CLOSER: "Come closer.",
    Hint.MORE_LIGHT: "More light, please.",
    Hint.LESS_LIGHT: "Less light, please.",
    Hint.EVEN_LIGHT: "Turn to the light, and away from any behind you.",
    Hint.HOLD_STILL: "Hold still.",
    Hint.INTO_THE_FRAME: "Bring your whole face into the picture.",
    Hint.ONE_PERSON_ALONE: "One person alone, please.",
    Hint.UPRIGHT: "Hold the camera and your head upright.",
    Hint.TURN_LEFT: "Turn your head a little to your left.",
    Hint.TURN_RIGHT: "Turn your head a little to your right.",
    Hint.CHIN_DOWN: "Lower your chin a little.",
    Hint.CHIN_UP: "Lift your chin a little.",
    Hint.UNCOVER_EYES: "Take off dark glasses.",
    Hint.UNCOVER_MOUTH: "Take off the mask or scarf.",
    Hint.TRY_AGAIN: "Look into the camera, and try again.",
    Hint.ENOUGH: "That is enough.",
}

_REMEDIES = {
    Fault.TOO_SMALL: Hint.COME_CLOSER,
    Fault.CUT_OFF: Hint.INTO_THE_FRAME,
    Fault.BLURRED: Hint.HOLD_STILL,
    Fault.TOO_DARK: Hint.MORE_LIGHT,
    Fault.TOO_BRIGHT: Hint.LESS_LIGHT,
    Fault.LOW_CONTRAST: Hint.EVEN_LIGHT,
    Fault.UNEVEN_LIGHT: Hint.EVEN_LIGHT,
    Fault.TILTED: Hint.UPRIGHT,
    Fault.ON_ITS_SIDE: Hint.UPRIGHT,
    Fault.EYES_COVERED: Hint.UNCOVER_EYES,
    Fault.MOUTH_COVERED: Hint.UNCOVER_MOUTH,
    Fault.LOW_CONFIDENCE: Hint.TRY_AGAIN,
    Fault.LOW_SCORE: Hint.TRY_AGAIN,
}


def remedies(face: DetectedFace, findings: Sequence[Finding]) -> tuple[Hint, ...]:
    """What would make a refused picture a good one; each once."""
    return tuple(dict.fromkeys(_remedy(face.pose, finding.fault) for finding in findings))


def next_step(poses: Sequence[Pose]) -> Hint:
    """What the next picture should show beside those taken, whose poses are given."""
    # The image's right, to which yaw is positive, is the left of who looks into the camera.
    if len(poses) >= ENOUGH:
        return Hint.ENOUGH
    if not any(pose.yaw >= TURNED for pose in poses):
        return Hint.TURN_LEFT
    if not any(pose.yaw <= -TURNED for pose in poses):
        return Hint.TURN_RIGHT
    return Hint.TRY_AGAIN


def _remedy(pose: Pose, fault: Fault) -> Hint:
    if fault is Fault.TURNED_ASIDE:
        return Hint.TURN_RIGHT if pose.yaw > 0 else Hint.TURN_LEFT
    if fault is Fault.TURNED_UP_OR_DOWN:
        return Hint.CHIN_DOWN if pose.pitch > 0 else Hint.CHIN_UP
    return _REMEDIES[fault]
