"""Both forms of a collection's ARN, and the ARNs of others."""

from __future__ import annotations

import pytest

from facerec.api.rekognition.arns import collection_of, full_arn, short_arn
from facerec.config import Settings, read_settings
from facerec.errors import AccessDenied, FacerecError, InvalidParameter, NotFound

FULL = "arn:aws:rekognition:eu-west-1:123456789012:collection/my.collection"


@pytest.fixture
def settings() -> Settings:
    return read_settings(aws_region="eu-west-1", account_id="123456789012")


def test_both_forms(settings: Settings) -> None:
    assert full_arn(settings, "my.collection") == FULL
    assert short_arn(settings, "my.collection") == FULL.removeprefix("arn:")
    assert collection_of(settings, FULL) == "my.collection"
    assert collection_of(settings, FULL.removeprefix("arn:")) == "my.collection"


@pytest.mark.parametrize(
    ("arn", "error"),
    [
        (FULL.replace("123456789012", "999999999999"), AccessDenied),
        (FULL.replace("eu-west-1", "us-east-1"), NotFound),
        (FULL.replace("collection/my", "streamprocessor/my"), NotFound),
        (FULL.replace("collection/my.collection", "collection/"), NotFound),
        (FULL.replace("rekognition", "s3"), InvalidParameter),
        ("my.collection-of-many-faces", InvalidParameter),
        (FULL.replace("123456789012", "12345"), InvalidParameter),
    ],
)
def test_other_resources(settings: Settings, arn: str, error: type[FacerecError]) -> None:
    with pytest.raises(error):
        collection_of(settings, arn)
