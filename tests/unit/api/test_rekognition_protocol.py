"""Reading hostile and merely unusual JSON."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facerec.api.rekognition.errors import MalformedRequest
from facerec.api.rekognition.model import read_model
from facerec.api.rekognition.protocol import member_path, parse

MODEL = read_model()


def parsed(operation: str, body: bytes) -> dict[str, Any]:
    return parse(MODEL.operations[operation].input, body)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{", id="unfinished"),
        pytest.param(b"{'CollectionId': 'c'}", id="single quotes"),
        pytest.param(b'{"CollectionId": "c"} x', id="something after it"),
        pytest.param(b'{"MaxFaces": NaN}', id="NaN"),
        pytest.param(b'{"FaceMatchThreshold": 1e999}', id="infinite"),
        pytest.param(b'{"CollectionId": "\xff"}', id="not UTF-8"),
        pytest.param(b'{"CollectionId": "\\ud800"}', id="half a surrogate pair"),
        pytest.param(b'{"a":' * 100_000, id="nested without end"),
        pytest.param(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", id="nested absurdly deep"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'"text"', id="a string"),
        pytest.param(b"\x00", id="a null byte"),
    ],
)
def test_a_body_that_is_no_json_object(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parsed("SearchFaces", body)


def test_the_message_says_what_is_wrong_with_the_json() -> None:
    with pytest.raises(MalformedRequest, match="not valid JSON: depth limit exceeded"):
        parsed("SearchFaces", b'{"a":' * 100_000)


@pytest.mark.parametrize(
    ("operation", "document", "message"),
    [
        (
            "SearchFaces",
            {"CollectionId": 5},
            "NUMBER_VALUE can not be converted to a String at 'collectionId'",
        ),
        ("SearchFaces", {"CollectionId": True}, "TRUE_VALUE can not be converted to a String"),
        ("SearchFaces", {"CollectionId": ["c"]}, "LIST_VALUE can not be converted to a String"),
        ("SearchFaces", {"MaxFaces": "5"}, "STRING_VALUE can not be converted to an Integer at 'maxFaces'"),
        ("SearchFaces", {"MaxFaces": 5.5}, "NUMBER_VALUE can not be converted to an Integer"),
        ("SearchFaces", {"MaxFaces": False}, "FALSE_VALUE can not be converted to an Integer"),
        ("SearchFaces", {"MaxFaces": 2**31}, "The number at 'maxFaces' does not fit into 32 bits"),
        ("SearchFaces", {"MaxFaces": 1e300}, "The number at 'maxFaces' does not fit into 32 bits"),
        ("SearchFaces", {"FaceMatchThreshold": "80"}, "STRING_VALUE can not be converted to a Float"),
        ("SearchFaces", {"FaceMatchThreshold": True}, "TRUE_VALUE can not be converted to a Float"),
        ("DetectFaces", {"Image": "x"}, "STRING_VALUE can not be converted to a Structure at 'image'"),
        (
            "DetectFaces",
            {"Image": {"Bytes": 5}},
            "NUMBER_VALUE can not be converted to a Blob at 'image.bytes'",
        ),
        ("DetectFaces", {"Image": {"Bytes": "Y"}}, "The value at 'image.bytes' is not valid base64"),
        ("DetectFaces", {"Image": {"Bytes": "YWJj\n"}}, "The value at 'image.bytes' is not valid base64"),
        ("DetectFaces", {"Image": {"Bytes": "YWJj YWJj"}}, "not valid base64"),
        ("DetectFaces", {"Image": {"Bytes": "YWI"}}, "not valid base64"),
        ("DetectFaces", {"Image": {"Bytes": "YW==YWJj"}}, "not valid base64"),
        ("DetectFaces", {"Image": {"Bytes": "_-_-"}}, "not valid base64"),
        ("DetectFaces", {"Image": {"Bytes": "é==="}}, "not valid base64"),
        ("DetectFaces", {"Image": {"S3Object": []}}, "LIST_VALUE can not be converted to a Structure"),
        ("DetectFaces", {"Attributes": "ALL"}, "STRING_VALUE can not be converted to a List at 'attributes'"),
        ("DetectFaces", {"Attributes": [5]}, "can not be converted to a String at 'attributes.1.member'"),
        ("CreateCollection", {"Tags": ["a"]}, "LIST_VALUE can not be converted to a Map at 'tags'"),
        ("CreateCollection", {"Tags": {"a": 5}}, "can not be converted to a String at 'tags.a.member'"),
    ],
)
def test_a_value_of_the_wrong_type(operation: str, document: dict[str, Any], message: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        parsed(operation, orjson.dumps(document))
    assert message in str(caught.value)


def test_a_message_repeats_neither_image_nor_a_key_without_end() -> None:
    with pytest.raises(MalformedRequest) as caught:
        parsed("DetectFaces", orjson.dumps({"Image": {"Bytes": "*" * 10_000}}))
    assert len(str(caught.value)) < 100
    with pytest.raises(MalformedRequest) as caught:
        parsed("CreateCollection", orjson.dumps({"Tags": {"k" * 10_000: 5}}))
    assert len(str(caught.value)) < 300


def test_an_empty_body_is_an_empty_object() -> None:
    assert parsed("ListCollections", b"") == {}


def test_unknown_members_are_ignored_and_null_is_absent() -> None:
    body = b'{"CollectionId": "c", "Unknown": {"a": [1]}, "FaceId": null, "collectionid": "d"}'
    assert parsed("SearchFaces", body) == {"CollectionId": "c"}


def test_of_a_member_given_twice_the_last_counts() -> None:
    assert parsed("SearchFaces", b'{"CollectionId": "a", "CollectionId": "b"}') == {"CollectionId": "b"}


def test_numbers_take_the_type_of_the_model() -> None:
    read = parsed("SearchFaces", b'{"MaxFaces": 5.0, "FaceMatchThreshold": 80}')
    assert (type(read["MaxFaces"]), read["MaxFaces"]) == (int, 5)
    assert (type(read["FaceMatchThreshold"]), read["FaceMatchThreshold"]) == (float, 80.0)


def test_a_null_element_stays_for_the_validator() -> None:
    assert parsed("DetectFaces", b'{"Attributes": [null]}') == {"Attributes": [None]}


@given(st.binary(max_size=200))
def test_every_blob_comes_through(data: bytes) -> None:
    body = orjson.dumps({"Image": {"Bytes": base64.b64encode(data).decode()}})
    assert parsed("DetectFaces", body) == {"Image": {"Bytes": data}}


@given(st.binary(max_size=300))
def test_no_bytes_do_more_than_raise_malformed_request(body: bytes) -> None:
    try:
        parsed("IndexFaces", body)
    except MalformedRequest:
        return


def test_paths_are_written_as_aws_writes_them() -> None:
    assert member_path("", "CollectionId") == "collectionId"
    assert member_path("image", "S3Object") == "image.s3Object"
