"""The door without HTTP: nothing that a client writes makes it fail, and nothing is done for callers gone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from shape_samples import sample
from wire_server import MODEL, Running, running

from facerec.access import ANYBODY, Caller
from facerec.api.rekognition.app import Answer, RekognitionDoor
from facerec.api.rekognition.model import Shape
from facerec.api.rekognition.operations import OPERATIONS
from facerec.api.rekognition.protocol import serializer
from facerec.auth.sigv4 import SignedRequest
from facerec.errors import SignatureMismatch
from facerec.observability import RequestContext, request_context

ALBUM = "album"
FACE_ID = "11111111-2222-3333-4444-555555555555"
VALID = {
    "CollectionId": ALBUM,
    "FaceId": FACE_ID,
    "ExternalImageId": "one:1",
    "UserId": "ann",
    "ClientRequestToken": "token",
    "ResourceArn": "arn:aws:rekognition:eu-central-1:123456789012:collection/album",
    "TagKey": "key",
    "TagValue": "value",
    "S3Bucket": "bucket",
}
"""For shapes with a pattern, values that match: the rest of a request is reached behind them."""
ODD_VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    2**63,
    1.5,
    1e308,
    "",
    "\x00",
    "ä" * 300,
    [],
    [None],
    [[]],
    {},
    {"": None},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    # Nothing listens on port 9: S3 can not be reached.
    folder = tmp_path_factory.mktemp("service")
    with running(folder, s3_endpoint_url="http://127.0.0.1:9") as started:
        started.client().create_collection(CollectionId=ALBUM)
        started.client().create_user(CollectionId=ALBUM, UserId="ann")
        yield started


@pytest.fixture
def door(server: Running) -> RekognitionDoor:
    return RekognitionDoor(server.service, lambda _: ANYBODY, workers=1)


def answered(door: RekognitionDoor, operation: str, body: bytes) -> Answer:
    request = SignedRequest(
        method="POST",
        path=b"/",
        query=b"",
        headers=((b"X-Amz-Target", f"RekognitionService.{operation}".encode()),),
        body=body,
    )
    return door.answer(request, "an-id")


def mixed(shape: Shape, chance: random.Random) -> Any:
    """A value of the shape, in part one that leads somewhere, in part nonsense."""
    if shape.kind == "structure":
        return {
            name: mixed(member, chance)
            for name, member in shape.members.items()
            if name in shape.required or (chance.random() < 0.5 and member.name != "S3Object")
        }
    if shape.name in VALID and chance.random() < 0.9:
        return VALID[shape.name]
    if shape.kind == "list" and shape.element is not None and chance.random() < 0.9:
        return [mixed(shape.element, chance) for _ in range(chance.randint(1, 3))]
    return sample(shape, chance, full=True)


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_no_request_is_an_internal_error(door: RekognitionDoor, operation: str) -> None:
    shape = MODEL.operations[operation].input
    for seed in range(40):
        parameters = mixed(shape, random.Random(seed))
        if operation == "DeleteCollection":
            parameters["CollectionId"] = "another"
        answer = answered(door, operation, serializer(shape)(parameters))
        assert answer.status in (200, 400), (parameters, answer.body)


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_no_type_in_any_place_is_an_internal_error(door: RekognitionDoor, operation: str) -> None:
    shape = MODEL.operations[operation].input
    for name in shape.members:
        for value in ODD_VALUES:
            parameters: dict[str, Any] = {"CollectionId": ALBUM, "FaceId": FACE_ID, name: value}
            answer = answered(door, operation, orjson.dumps(parameters))
            assert answer.status in (200, 400), (parameters, answer.body)


def test_nothing_is_done_for_a_caller_that_has_gone(server: Running, door: RekognitionDoor) -> None:
    context = RequestContext()
    context.caller_gone.set()
    with request_context(context):
        assert answered(door, "CreateCollection", b'{"CollectionId": "unwanted"}').status == 500
    assert "unwanted" not in server.client().list_collections()["CollectionIds"]


def test_the_signature_is_checked_before_anything_is_read(server: Running) -> None:
    def refuse(_: SignedRequest) -> Caller:
        raise SignatureMismatch

    answer = answered(RekognitionDoor(server.service, refuse, workers=1), "Nonsense", b"no json")
    assert orjson.loads(answer.body)["__type"] == "InvalidSignatureException"
