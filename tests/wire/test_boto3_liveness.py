"""Face Liveness as an unmodified AWS client opens and asks for it; frames are sent as the page sends them."""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError
from PIL import Image
from wire_server import Running, running

from acting import OPPOSITE, Actor, drawn, without_haste
from facerec.engine.fake import FakeEngine, FakeFace
from redis_server import RedisServer

BUCKET = "liveness-pictures"


@pytest.fixture(scope="module", params=["database", "redis"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, s3_url: str
) -> Iterator[Running]:
    redis: RedisServer | None = None
    if request.param == "redis":
        redis = request.getfixturevalue("redis_server")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        with running(
            tmp_path_factory.mktemp("data"),
            redis_url=redis.url if redis else None,
            s3_endpoint_url=s3_url,
            liveness_buckets=(BUCKET,),
        ) as opened:
            without_haste(opened.service.liveness)
            yield opened


@pytest.fixture(scope="module")
def http(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def opened(server: Running, **settings: Any) -> str:
    """The id of a new session."""
    given: Any = settings
    return server.client().create_face_liveness_session(Settings=given)["SessionId"]


def results(server: Running, session_id: str) -> dict[str, Any]:
    found = server.client().get_face_liveness_session_results(SessionId=session_id)
    return {name: value for name, value in found.items() if name != "ResponseMetadata"}


def test_somebody_who_does_what_is_asked_is_alive(server: Running, http: httpx.Client) -> None:
    session_id = opened(server, AuditImagesLimit=2)
    assert uuid.UUID(session_id).version == 4
    assert results(server, session_id)["Status"] == "CREATED"
    actor = Actor(http, session_id, drawn("ann"))
    actor.send(actor.frame(0, 0, 1))
    assert results(server, session_id) == {
        "SessionId": session_id,
        "Status": "IN_PROGRESS",
        "Challenge": {"Type": "FaceMovementChallenge", "Version": "1.0.0"},
    }
    actor.obey(steps=4)
    assert (actor.answer["status"], actor.answer["remark"], actor.answer["asked"]) == (
        "SUCCEEDED",
        "ALL_DONE",
        None,
    )
    found = results(server, session_id)
    assert found["Status"] == "SUCCEEDED"
    assert found["Confidence"] == pytest.approx(95, abs=0.01)
    pictures = [found["ReferenceImage"], *found["AuditImages"]]
    assert len(pictures) == 3
    for picture in pictures:
        assert Image.open(io.BytesIO(picture["Bytes"])).format == "JPEG"
        assert 0 < picture["BoundingBox"]["Width"] < 1


def test_another_movement_twice_fails(server: Running, http: httpx.Client) -> None:
    actor = Actor(http, session_id := opened(server), drawn("ann"))
    actor.send(actor.frame(2, 0, 1))
    while actor.answer["status"] == "IN_PROGRESS":
        actor.move(OPPOSITE[actor.answer["asked"]["step"]])
    assert actor.answer["remark"] == "TOO_MANY_MISTAKES"
    found = results(server, session_id)
    assert (found["Status"], found["Confidence"]) == ("FAILED", 0)
    assert "ReferenceImage" not in found
    actor.send(actor.frame(0, 0, 1))
    assert actor.answer["status"] == "FAILED"


def test_a_photograph_that_is_turned_gets_nowhere(server: Running, http: httpx.Client) -> None:
    actor = Actor(http, session_id := opened(server), drawn("ann", flat=True))
    actor.obey(steps=6)
    assert actor.answer["status"] == "IN_PROGRESS"
    assert server.service.liveness.get(session_id).challenge.depths == ()


def test_somebody_else_in_between_fails(server: Running, http: httpx.Client) -> None:
    actor = Actor(http, session_id := opened(server), drawn("ann"))
    actor.obey(steps=1)
    actor.frame = drawn("bob")
    for yaw in range(6):
        actor.send(actor.frame(yaw, 0, 1))
    assert results(server, session_id)["Status"] == "FAILED"
    assert server.service.liveness.get(session_id).failure == "OTHER_PERSON"


def test_looks_count_as_much_as_movements(server: Running, http: httpx.Client) -> None:
    session_id = opened(server)
    Actor(http, session_id, drawn(FakeFace("ann", spoofed=True))).obey()
    found = results(server, session_id)
    assert found["Status"] == "SUCCEEDED"
    assert found["Confidence"] == pytest.approx(5, abs=0.01)


def test_a_session_ends_after_three_minutes(
    server: Running, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = opened(server)
    monkeypatch.setattr(server.service.liveness, "clock", lambda: time.time() + 181)
    assert results(server, session_id)["Status"] == "EXPIRED"
    actor = Actor(http, session_id, drawn("ann"))
    actor.send(actor.frame(0, 0, 1))
    assert (actor.answer["status"], server.service.liveness.get(session_id).frames) == ("EXPIRED", 0)


def test_a_session_that_never_was(server: Running) -> None:
    client = server.client()
    with pytest.raises(client.exceptions.SessionNotFoundException):
        client.get_face_liveness_session_results(SessionId=str(uuid.uuid4()))


def test_a_client_token_opens_one_session(server: Running) -> None:
    client, token = server.client(), uuid.uuid4().hex
    first = client.create_face_liveness_session(ClientRequestToken=token)["SessionId"]
    assert client.create_face_liveness_session(ClientRequestToken=token)["SessionId"] == first
    with pytest.raises(client.exceptions.InvalidParameterException, match="ClientRequestToken"):
        client.create_face_liveness_session(ClientRequestToken=token, Settings={"AuditImagesLimit": 1})


def test_pictures_are_put_to_s3(server: Running, http: httpx.Client, s3_url: str) -> None:
    s3 = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1")
    s3.create_bucket(Bucket=BUCKET)
    session_id = opened(server, AuditImagesLimit=1, OutputConfig={"S3Bucket": BUCKET, "S3KeyPrefix": "door/"})
    Actor(http, session_id, drawn("ann")).obey()
    found = results(server, session_id)
    reference, (audit,) = found["ReferenceImage"], found["AuditImages"]
    assert reference["S3Object"] == {"Bucket": BUCKET, "Name": f"door/{session_id}/reference.jpg"}
    assert audit["S3Object"]["Name"] == f"door/{session_id}/audit-image-0.jpg"
    assert "Bytes" not in reference
    for picture in (reference, audit):
        stored = s3.get_object(Bucket=BUCKET, Key=picture["S3Object"]["Name"])
        assert Image.open(io.BytesIO(stored["Body"].read())).format == "JPEG"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"OutputConfig": {"S3Bucket": "somebody-elses"}}, "FACEREC_LIVENESS_BUCKETS"),
        (
            {"ChallengePreferences": [{"Type": "FaceMovementChallenge", "Versions": {"Minimum": "2.0.0"}}]},
            "version 1.0.0",
        ),
    ],
)
def test_what_can_not_be_had_is_refused(server: Running, settings: dict[str, Any], message: str) -> None:
    client = server.client()
    with pytest.raises(client.exceptions.InvalidParameterException, match=message):
        client.create_face_liveness_session(Settings=settings)  # type: ignore[arg-type]


def test_preferences_that_need_not_be_met(server: Running) -> None:
    assert opened(server, ChallengePreferences=[{"Type": "FaceMovementAndLightChallenge"}])


class WithoutMouth(FakeEngine):
    """A detector such as dlib's."""

    points = frozenset({"eyeLeft", "eyeRight", "nose"})


def test_a_pack_that_places_no_mouth_says_so(tmp_path: Path) -> None:
    with (
        running(tmp_path, engine=WithoutMouth()) as server,
        pytest.raises(ClientError, match="places no mouth"),
    ):
        opened(server)
