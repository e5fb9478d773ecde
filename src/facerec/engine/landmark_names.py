"""Which rows of dense landmark layouts are the points that Rekognition names. "Left" is the image's left."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

POINTS_106: Mapping[str, int] = MappingProxyType(
    {
        "eyeLeft": 38,
        "eyeRight": 88,
        "mouthLeft": 52,
        "mouthRight": 61,
        "nose": 86,
        "leftEyeBrowLeft": 43,
        "leftEyeBrowRight": 50,
        "leftEyeBrowUp": 49,
        "rightEyeBrowLeft": 102,
        "rightEyeBrowRight": 101,
        "rightEyeBrowUp": 104,
        "leftEyeLeft": 35,
        "leftEyeRight": 39,
        "leftEyeUp": 40,
        "leftEyeDown": 33,
        "rightEyeLeft": 89,
        "rightEyeRight": 93,
        "rightEyeUp": 94,
        "rightEyeDown": 87,
        "noseLeft": 78,
        "noseRight": 84,
        "mouthUp": 71,
        "mouthDown": 53,
        "leftPupil": 38,
        "rightPupil": 88,
        "upperJawlineLeft": 1,
        "midJawlineLeft": 16,
        "chinBottom": 0,
        "midJawlineRight": 32,
        "upperJawlineRight": 17,
    }
)
"""InsightFace's 2d106det; numbers of its picture 2d106markup.jpg (alignment/coordinate_reg)."""

POINTS_68: Mapping[str, int] = MappingProxyType(
    {
        "mouthLeft": 48,
        "mouthRight": 54,
        "nose": 30,
        "leftEyeBrowLeft": 17,
        "leftEyeBrowRight": 21,
        "leftEyeBrowUp": 19,
        "rightEyeBrowLeft": 22,
        "rightEyeBrowRight": 26,
        "rightEyeBrowUp": 24,
        "leftEyeLeft": 36,
        "leftEyeRight": 39,
        "rightEyeLeft": 42,
        "rightEyeRight": 45,
        "noseLeft": 31,
        "noseRight": 35,
        "mouthUp": 51,
        "mouthDown": 57,
        "upperJawlineLeft": 0,
        "midJawlineLeft": 4,
        "chinBottom": 8,
        "midJawlineRight": 12,
        "upperJawlineRight": 16,
    }
)
"""The 68 points of iBUG 300-W, counted from 0. It has no point at the middle of a lid or in a pupil."""
