"""Answers as the service writes them are read by botocore's parser as what was meant."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any

import botocore.loaders
import botocore.model
import botocore.parsers
import orjson
import pytest
from shape_samples import differences, sample

from facerec.api.rekognition.errors import INTERNAL, UNAVAILABLE, WIRE_ERRORS, error_body
from facerec.api.rekognition.model import read_model
from facerec.api.rekognition.protocol import serializer
from facerec.errors import FacerecError

MODEL = read_model()
BOTOCORE_MODEL = botocore.model.ServiceModel(
    botocore.loaders.Loader().load_service_model("rekognition", "service-2"), "rekognition"
)


def read_by_botocore(operation: str, status: int, body: bytes) -> dict[str, Any]:
    shape = BOTOCORE_MODEL.operation_model(operation).output_shape
    assert shape is not None
    parser = botocore.parsers.create_parser("json")
    read: dict[str, Any] = parser.parse(
        {"status_code": status, "headers": {"x-amzn-requestid": "an-id"}, "body": body},
        shape,
    )
    return read


def with_seconds(value: Any) -> Any:
    """botocore's datetimes as seconds since the epoch."""
    if isinstance(value, dict):
        return {key: with_seconds(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_seconds(item) for item in value]
    return value.timestamp() if isinstance(value, datetime) else value


@pytest.mark.parametrize("full", [True, False], ids=["full", "minimal"])
@pytest.mark.parametrize("operation", sorted(MODEL.operations))
def test_botocore_reads_what_was_meant(operation: str, full: bool) -> None:
    for seed in range(5):
        answer = sample(MODEL.operations[operation].output, random.Random(seed), full=full)
        read = read_by_botocore(operation, 200, serializer(MODEL.operations[operation].output)(answer))
        assert read.pop("ResponseMetadata")["RequestId"] == "an-id"
        assert with_seconds(read) == answer


def test_none_is_left_out() -> None:
    shape = MODEL.operations["SearchUsers"].output
    assert orjson.loads(serializer(shape)({"SearchedUser": None, "UserMatches": []})) == {"UserMatches": []}


@pytest.mark.parametrize(
    "answer",
    [
        {"StatusCode": "200"},
        {"StatusCode": True},
        {"CollectionArn": 5},
        {"Unknown": 1},
    ],
)
def test_an_answer_that_the_model_does_not_allow_is_never_sent(answer: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        serializer(MODEL.operations["CreateCollection"].output)(answer)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_can_not_write_is_never_sent(number: float) -> None:
    with pytest.raises(ValueError, match="Percent"):
        serializer(MODEL.operations["SearchFacesByImage"].output)({"SearchedFaceConfidence": number})


@pytest.mark.parametrize("error", WIRE_ERRORS, ids=lambda error: error.__name__)
def test_botocore_reads_code_and_message_of_every_error(error: type[FacerecError]) -> None:
    status, body = error_body(error("what was wrong"), "an-id")
    read = read_by_botocore("IndexFaces", status, body)
    row = WIRE_ERRORS[error]
    assert read["Error"]["Code"] == row.code
    # What is behind a fault of the service is for its log: it may name machines.
    told = {INTERNAL: "Internal server error", UNAVAILABLE: str(error())}
    assert read["Error"]["Message"] == told.get(row, "what was wrong")
    assert read["ResponseMetadata"]["HTTPStatusCode"] == row.status


def test_the_check_of_shapes_finds_what_is_wrong() -> None:
    shape = MODEL.operations["DescribeCollection"].output
    assert differences(shape, {"FaceCount": 1, "CollectionARN": "x"}) == []
    assert len(differences(shape, {"FaceCount": -1, "CollectionArn": "x", "FaceModelVersion": 7})) == 3
