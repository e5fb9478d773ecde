"""Every constraint of the model, in AWS's words."""

from __future__ import annotations

from typing import Any

import pytest

from facerec.api.rekognition.errors import ConstraintsViolated
from facerec.api.rekognition.model import read_model
from facerec.api.rekognition.validation import validate

MODEL = read_model()
FACE_ID = "11111111-2222-3333-4444-555555555555"
FACE_ID_CONSTRAINT = (
    "Member must satisfy regular expression pattern: "
    "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
)
MEBIBYTES_5 = 5 * 1024 * 1024


def message(operation: str, parameters: dict[str, Any], **options: Any) -> str:
    with pytest.raises(ConstraintsViolated) as caught:
        validate(MODEL.operations[operation].input, parameters, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("CreateCollection", {"CollectionId": "c" * 255, "Tags": {}}),
        ("CreateCollection", {"CollectionId": "c", "Tags": {"k" * 128: "v" * 256, "Größe": ""}}),
        ("IndexFaces", {"CollectionId": "c", "Image": {"Bytes": b"x" * MEBIBYTES_5}, "MaxFaces": 1}),
        (
            "SearchFaces",
            {"CollectionId": "c", "FaceId": FACE_ID, "FaceMatchThreshold": 100.0, "MaxFaces": 4096},
        ),
        ("ListFaces", {"CollectionId": "c", "MaxResults": 0}),
        ("DeleteFaces", {"CollectionId": "c", "FaceIds": [FACE_ID] * 4096}),
        ("DetectFaces", {"Image": {}, "Attributes": ["ALL", "DEFAULT"]}),
    ],
)
def test_values_at_the_limits_pass(operation: str, parameters: dict[str, Any]) -> None:
    validate(MODEL.operations[operation].input, parameters)


LENGTH = "Member must have length"
VALUE = "Member must have value"
PATTERN = "Member must satisfy regular expression pattern:"
ENUM = "Member must satisfy enum value set:"
TAG_CLASS = "[\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*"
ATTRIBUTES = (
    "[DEFAULT, ALL, AGE_RANGE, BEARD, EMOTIONS, EYE_DIRECTION, EYEGLASSES, EYES_OPEN, GENDER, MOUTH_OPEN, "
    "MUSTACHE, FACE_OCCLUDED, SMILE, SUNGLASSES]"
)
SEARCH = {"CollectionId": "c", "FaceId": FACE_ID}


@pytest.mark.parametrize(
    ("operation", "parameters", "value", "path", "constraint"),
    [
        ("DeleteCollection", {}, "null", "collectionId", "Member must not be null"),
        (
            "DeleteCollection",
            {"CollectionId": "a b"},
            "'a b'",
            "collectionId",
            f"{PATTERN} [a-zA-Z0-9_.\\-]+",
        ),
        (
            "DetectFaces",
            {"Image": {"Bytes": b""}},
            "'java.nio.HeapByteBuffer[pos=0 lim=0 cap=0]'",
            "image.bytes",
            f"{LENGTH} greater than or equal to 1",
        ),
        (
            "DetectFaces",
            {"Image": {"Bytes": b"x" * (MEBIBYTES_5 + 1)}},
            "'java.nio.HeapByteBuffer[pos=0 lim=5242881 cap=5242881]'",
            "image.bytes",
            f"{LENGTH} less than or equal to 5242880",
        ),
        (
            "DetectFaces",
            {"Image": {"S3Object": {"Bucket": "ab"}}},
            "'ab'",
            "image.s3Object.bucket",
            f"{LENGTH} greater than or equal to 3",
        ),
        (
            "DetectFaces",
            {"Image": {}, "Attributes": ["ALL", "HATS"]},
            "'[ALL, HATS]'",
            "attributes",
            f"Member must satisfy constraint: [{ENUM} {ATTRIBUTES}]",
        ),
        (
            "DetectFaces",
            {"Image": {}, "Attributes": [None]},
            "'[null]'",
            "attributes",
            "Member must not be null",
        ),
        (
            "SearchFaces",
            {**SEARCH, "FaceMatchThreshold": 100.5},
            "'100.5'",
            "faceMatchThreshold",
            f"{VALUE} less than or equal to 100",
        ),
        ("SearchFaces", {**SEARCH, "MaxFaces": 0}, "'0'", "maxFaces", f"{VALUE} greater than or equal to 1"),
        (
            "IndexFaces",
            {"CollectionId": "c", "Image": {}, "QualityFilter": "NOPE"},
            "'NOPE'",
            "qualityFilter",
            f"{ENUM} [NONE, AUTO, LOW, MEDIUM, HIGH]",
        ),
        (
            "DeleteFaces",
            {"CollectionId": "c", "FaceIds": ["x"]},
            "'[x]'",
            "faceIds",
            f"Member must satisfy constraint: [{FACE_ID_CONSTRAINT}]",
        ),
        (
            "DeleteFaces",
            {"CollectionId": "c", "FaceIds": []},
            "'[]'",
            "faceIds",
            f"{LENGTH} greater than or equal to 1",
        ),
        (
            "CreateCollection",
            {"CollectionId": "c", "Tags": {"aws:x": "v"}},
            "'{aws:x=v}'",
            "tags",
            f"Map keys must satisfy constraint: [{LENGTH} less than or equal to 128, {LENGTH} greater than "
            f"or equal to 1, {PATTERN} ^(?!aws:){TAG_CLASS}$]",
        ),
        (
            "CreateCollection",
            {"CollectionId": "c", "Tags": {"k": "*"}},
            "'{k=*}'",
            "tags",
            f"Map value must satisfy constraint: [{LENGTH} less than or equal to 256, {LENGTH} greater than "
            f"or equal to 0, {PATTERN} ^({TAG_CLASS})$]",
        ),
    ],
)
def test_each_constraint_in_the_words_of_aws(
    operation: str, parameters: dict[str, Any], value: str, path: str, constraint: str
) -> None:
    assert message(operation, parameters) == (
        f"1 validation error detected: Value {value} at '{path}' failed to satisfy constraint: {constraint}"
    )


def test_all_violations_of_a_request_are_told_at_once() -> None:
    text = message("SearchFaces", {"CollectionId": "", "FaceId": FACE_ID, "FaceMatchThreshold": -1.0})
    failed = "failed to satisfy constraint:"
    assert text == (
        "3 validation errors detected: "
        f"Value '' at 'collectionId' {failed} {LENGTH} greater than or equal to 1; "
        f"Value '' at 'collectionId' {failed} {PATTERN} [a-zA-Z0-9_.\\-]+; "
        f"Value '-1.0' at 'faceMatchThreshold' {failed} {VALUE} greater than or equal to 0"
    )


def test_long_values_are_shortened() -> None:
    text = message("DeleteCollection", {"CollectionId": "x" * 1_000_000})
    assert len(text) < 400
    assert "xxx...'" in text
    text = message("DeleteFaces", {"CollectionId": "c", "FaceIds": ["y" * 1000] * 4096})
    assert len(text) < 1000


def test_bytes_of_an_image_are_never_repeated() -> None:
    assert "secret" not in message("DetectFaces", {"Image": {"Bytes": b"secret" * MEBIBYTES_5}})


def test_the_operator_may_set_another_limit_on_images() -> None:
    assert "less than or equal to 2" in message(
        "DetectFaces", {"Image": {"Bytes": b"abc"}}, maxima={"ImageBlob": 2}
    )
    validate(
        MODEL.operations["DetectFaces"].input,
        {"Image": {"Bytes": b"x" * (MEBIBYTES_5 + 1)}},
        maxima={"ImageBlob": 2 * MEBIBYTES_5},
    )
