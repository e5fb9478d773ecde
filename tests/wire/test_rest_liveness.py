"""Liveness sessions over REST: who may do what, and what each frame is answered with."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import httpx
import pytest
from wire_server import Running, running

from acting import Actor, drawn, without_haste
from facerec.access import KeyKind, Scope
from facerec.engine.fake import FakeFace, draw
from facerec.services.keys import KeyLimits
from facerec.services.liveness import sessions

SESSIONS = "/api/v1/liveness/sessions"
ORIGIN = "https://gate.example.com"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("data"), allowed_origins=(ORIGIN,), liveness_steps=2) as opened:
        without_haste(opened.service.liveness)
        yield opened


@pytest.fixture(scope="module")
def writer(server: Running) -> str:
    """A key; from the first one on every request needs one."""
    return server.service.keys.create(kind=KeyKind.API, limits=KeyLimits(scope=Scope.WRITE)).secret


@pytest.fixture(scope="module")
def api(server: Running, writer: str) -> Iterator[httpx.Client]:
    """Somebody with a key."""
    with httpx.Client(base_url=server.url, timeout=30, headers={"X-API-Key": writer}) as client:
        yield client


@pytest.fixture(scope="module")
def anybody(server: Running, writer: str) -> Iterator[httpx.Client]:
    """Somebody without a key."""
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def opened(api: httpx.Client) -> str:
    answer = api.post(SESSIONS, json={})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["session_id"])


def test_a_session_from_its_beginning_to_its_end(api: httpx.Client, anybody: httpx.Client) -> None:
    session_id = opened(api)
    before = api.get(f"{SESSIONS}/{session_id}").json()
    assert (before["status"], before["confidence"], before["url"]) == (
        "CREATED",
        None,
        f"/liveness/{session_id}",
    )
    actor = Actor(anybody, session_id, drawn("ann"))
    first = actor.send(actor.frame(0, 0, 1))
    assert first["asked"]["stage"] == "MOVE"
    assert (first["asked"]["number"], first["asked"]["steps"]) == (1, 2)
    assert first["asked"]["text"]
    actor.obey()
    # How sure the service is it tells whoever opened the session, and not whoever is before the camera.
    assert "confidence" not in actor.answer
    after = api.get(f"{SESSIONS}/{session_id}").json()
    assert (after["status"], after["failure"], after["used"]) == ("SUCCEEDED", None, False)
    assert after["passive"] == 95
    assert after["confidence"] == min(after["passive"], after["depth"])


def test_opening_and_asking_take_a_key_and_frames_do_not(
    server: Running, api: httpx.Client, anybody: httpx.Client
) -> None:
    session_id = opened(api)
    assert anybody.post(SESSIONS, json={}).status_code == 401
    assert anybody.get(f"{SESSIONS}/{session_id}").status_code == 401
    reader = server.service.keys.create(kind=KeyKind.API, limits=KeyLimits(scope=Scope.READ)).secret
    refused = anybody.post(SESSIONS, json={}, headers={"X-API-Key": reader})
    assert (refused.status_code, refused.json()["code"]) == (403, "AccessDenied")
    limited = server.service.keys.create(kind=KeyKind.API, limits=KeyLimits(collections=("door-*",))).secret
    assert anybody.post(SESSIONS, json={}, headers={"X-API-Key": limited}).status_code == 201
    Actor(anybody, session_id, drawn("ann")).send(draw("ann"))


@pytest.mark.parametrize(
    ("frame", "remark"),
    [
        (draw(), "NO_FACE"),
        (draw("ann", "bob"), "SEVERAL_FACES"),
        (draw(FakeFace("ann", small=True)), "TOO_FAR"),
        (draw("ann", dim=True), "TOO_DARK"),
    ],
)
def test_frames_that_do_not_count(
    api: httpx.Client, anybody: httpx.Client, frame: bytes, remark: str
) -> None:
    actor = Actor(anybody, opened(api), drawn("ann"))
    answer = actor.send(frame)
    assert (answer["status"], answer["remark"]) == ("IN_PROGRESS", remark)
    assert answer["text"]
    assert answer["asked"]["stage"] == "LOOK_AHEAD"


def test_a_picture_that_stands_still_does_not_count(api: httpx.Client, anybody: httpx.Client) -> None:
    actor = Actor(anybody, opened(api), drawn("ann"))
    assert actor.send(actor.frame(0, 0, 1))["remark"] == "GOOD"
    assert actor.send(actor.frame(0, 0, 1))["remark"] == "REPEATED"


def test_a_movement_without_a_way_to_it_is_two_photographs(api: httpx.Client, anybody: httpx.Client) -> None:
    actor = Actor(anybody, opened(api), drawn("ann"))
    while actor.answer.get("status") in (None, "IN_PROGRESS") and actor.sent < 12:
        step = actor.send(actor.frame(actor.sent % 3, 0, 1))["asked"]["step"]
        frames = list(actor.frames(step))
        answer = actor.send(frames[3])
        # A face that is suddenly larger may be another one: the step begins anew without a word.
        assert answer["remark"] == ("GOOD" if step == "COME_CLOSER" else "MORE_SLOWLY")
        assert (answer["asked"]["stage"], answer["asked"]["number"]) == ("LOOK_AHEAD", 1)


def test_what_is_no_frame_is_refused(api: httpx.Client, anybody: httpx.Client) -> None:
    frames = f"{SESSIONS}/{opened(api)}/frames"
    elsewhere = anybody.post(frames, json={"image": "s3://bucket/key"})
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (400, "InvalidParameter")
    no_image = anybody.post(frames, json={"image": base64.b64encode(b"no picture").decode()})
    assert (no_image.status_code, no_image.json()["code"]) == (400, "InvalidImage")
    large = anybody.post(frames, files={"image": b"\xff" * (1024 * 1024 + 1)})
    assert (large.status_code, large.json()["code"]) == (413, "ImageTooLarge")
    nobody = anybody.post(f"{SESSIONS}/{'0' * 8}-0000-0000-0000-{'0' * 12}/frames", files={"image": b"x"})
    assert (nobody.status_code, nobody.json()["code"]) == (404, "SessionNotFound")


def test_more_frames_than_a_camera_makes_are_refused(
    api: httpx.Client, anybody: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slowly they come: hardly another one is let in after those that may come at once.
    monkeypatch.setattr(sessions, "FRAMES_PER_SECOND", 1e-4)
    frames, nothing = f"{SESSIONS}/{opened(api)}/frames", draw(size=(32, 32))
    for _ in range(sessions.BURST):
        assert anybody.post(frames, files={"image": nothing}).status_code == 200
    refused = anybody.post(frames, files={"image": nothing})
    assert (refused.status_code, refused.json()["code"]) == (429, "RateExceeded")
    assert refused.headers["Retry-After"]


def test_a_person_is_sent_back_to_known_pages_alone(api: httpx.Client) -> None:
    taken = api.post(SESSIONS, json={"return_url": f"{ORIGIN}/after?x=1"})
    assert taken.status_code == 201
    for url in ("https://evil.example.com/", f"{ORIGIN}.evil.example.com/", f"{ORIGIN}@evil.example.com/"):
        refused = api.post(SESSIONS, json={"return_url": url})
        assert (refused.status_code, refused.json()["code"]) == (400, "InvalidParameter")
