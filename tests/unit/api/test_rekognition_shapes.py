"""Domain values as structures of the service model."""

from __future__ import annotations

import orjson
import pytest

from facerec.api.rekognition.model import read_model
from facerec.api.rekognition.protocol import serializer
from facerec.api.rekognition.shapes import face_detail, requested_attributes, stored_face
from facerec.domain import (
    AgeRange,
    Attributes,
    BoundingBox,
    DetectedFace,
    Face,
    Gender,
    Judgement,
    Landmark,
    Pose,
    Quality,
    RowKey,
)

BOX = BoundingBox(left=-0.1, top=0.2, width=0.3, height=0.4)
EVERYTHING = frozenset({"age_range", "gender", "smile", "eyes_open", "mouth_open"})


def detected(attributes: Attributes) -> DetectedFace:
    return DetectedFace(
        box=BOX,
        confidence=99.5,
        landmarks=(Landmark("eyeLeft", 0.1, 0.2),),
        pose=Pose(roll=1.0, yaw=-2.0, pitch=3.0),
        quality=Quality(brightness=50.0, sharpness=60.0),
        attributes=attributes,
    )


@pytest.mark.parametrize(
    ("names", "fields"),
    [
        (None, set()),
        ([], set()),
        (["DEFAULT"], set()),
        (["ALL"], EVERYTHING),
        (["ALL", "DEFAULT"], EVERYTHING),
        (["DEFAULT", "AGE_RANGE"], {"age_range"}),
        (["SMILE", "EYES_OPEN", "MOUTH_OPEN", "GENDER"], EVERYTHING - {"age_range"}),
        (["BEARD", "EMOTIONS"], set()),
    ],
)
def test_attributes_asked_for(names: list[str] | None, fields: set[str]) -> None:
    assert requested_attributes(names) == fields


def test_the_names_of_attributes_are_the_fields_of_the_domain() -> None:
    assert set(Attributes.__dataclass_fields__) == EVERYTHING


def test_a_face_with_everything() -> None:
    detail = face_detail(
        detected(
            Attributes(
                age_range=AgeRange(20, 30),
                gender=Gender("Female", 98.0),
                smile=Judgement(True, 90.0),
                eyes_open=Judgement(False, 80.0),
                mouth_open=Judgement(True, 70.0),
            )
        )
    )
    assert detail == {
        "BoundingBox": {"Left": -0.1, "Top": 0.2, "Width": 0.3, "Height": 0.4},
        "Confidence": 99.5,
        "Landmarks": [{"Type": "eyeLeft", "X": 0.1, "Y": 0.2}],
        "Pose": {"Roll": 1.0, "Yaw": -2.0, "Pitch": 3.0},
        "Quality": {"Brightness": 50.0, "Sharpness": 60.0},
        "AgeRange": {"Low": 20, "High": 30},
        "Gender": {"Value": "Female", "Confidence": 98.0},
        "Smile": {"Value": True, "Confidence": 90.0},
        "EyesOpen": {"Value": False, "Confidence": 80.0},
        "MouthOpen": {"Value": True, "Confidence": 70.0},
    }


def test_what_no_model_judges_stays_away() -> None:
    shape = read_model().operations["DetectFaces"].output
    sent = orjson.loads(serializer(shape)({"FaceDetails": [face_detail(detected(Attributes()))]}))
    assert set(sent["FaceDetails"][0]) == {"BoundingBox", "Confidence", "Landmarks", "Pose", "Quality"}


def test_a_stored_face() -> None:
    face = Face(
        key=RowKey(1),
        face_id="11111111-2222-3333-4444-555555555555",
        image_id="21111111-2222-3333-4444-555555555555",
        external_image_id="mine",
        box=BOX,
        confidence=99.5,
        model_version="1.0",
        user_id="jane",
    )
    assert stored_face(face) == {
        "FaceId": "11111111-2222-3333-4444-555555555555",
        "BoundingBox": {"Left": -0.1, "Top": 0.2, "Width": 0.3, "Height": 0.4},
        "ImageId": "21111111-2222-3333-4444-555555555555",
        "ExternalImageId": "mine",
        "Confidence": 99.5,
        "IndexFacesModelVersion": "1.0",
        "UserId": "jane",
    }
