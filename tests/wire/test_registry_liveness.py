"""Liveness at the registry over HTTP: reported or required, as FACEREC_LIVENESS says."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from wire_server import running

from facerec.bootstrap import open_service
from facerec.config import read_settings
from facerec.domain import LivenessPolicy
from facerec.engine.fake import FakeEngine, FakeFace, draw
from facerec.errors import ConfigurationError

SPOOFED = FakeFace("ann", spoofed=True)


@pytest.fixture(scope="module", params=["off", "report", "require"])
def policy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def api(policy: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with (
        running(tmp_path_factory.mktemp("data"), liveness=LivenessPolicy(policy)) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        yield client


def face(person: str | FakeFace, variation: int = 0) -> str:
    return base64.b64encode(draw(person, variation=variation)).decode()


def told(policy: str, score: float) -> float | None:
    return None if policy == "off" else score


def test_pictures_of_a_registration(api: httpx.Client, policy: str) -> None:
    answer = api.post("/register", json={"person_id": "ann", "images": [face("ann"), face(SPOOFED, 1)]})
    images: list[dict[str, Any]] = answer.json()["images"]
    assert [image["liveness"] for image in images] == [told(policy, 95), told(policy, 5)]
    assert [image["code"] for image in images] == [None, "NotLive" if policy == "require" else None]


@pytest.mark.parametrize("review", ["off", "standard", "strict"])
def test_verification(api: httpx.Client, policy: str, review: str) -> None:
    api.post("/register", json={"person_id": "ann", "images": [face("ann")]})
    live = api.post("/verify", json={"image": face("ann", 2), "review": review}).json()
    assert (live["match"], live["liveness"]) == (True, told(policy, 95))
    answer = api.post("/verify", json={"image": face(SPOOFED, 3), "review": review})
    if policy == "require":
        assert (answer.status_code, answer.json()["code"]) == (422, "NotLive")
        assert answer.json()["hint"]
    else:
        assert (answer.json()["match"], answer.json()["liveness"]) == (True, told(policy, 5))


def test_every_face_of_a_photo(api: httpx.Client, policy: str) -> None:
    api.post("/register", json={"person_id": "ann", "images": [face("ann")]})
    photo = base64.b64encode(draw(SPOOFED, "bob", variation=4)).decode()
    faces = api.post("/identify", json={"image": photo}).json()["faces"]
    assert [one["liveness"] for one in faces] == [told(policy, 5), told(policy, 95)]
    if policy == "require":
        assert (faces[0]["person_id"], faces[0]["reason"]) == (None, "NOT_LIVE")
    else:
        assert faces[0]["person_id"] == "ann"


def test_frames_of_a_registration_session(api: httpx.Client, policy: str) -> None:
    opened = api.post("/registrations", json={"person_id": "bob", "review": "off"})
    frames = f"/registrations/{opened.json()['session_id']}/frames"
    spoofed = api.post(frames, json={"image": face(FakeFace("bob", spoofed=True))}).json()
    assert spoofed["liveness"] == told(policy, 5)
    assert (spoofed["accepted"], spoofed["code"]) == (
        (False, "NotLive") if policy == "require" else (True, None)
    )
    assert spoofed["hints"]
    live = api.post(frames, json={"image": face("bob", 1)}).json()
    assert (live["accepted"], live["liveness"]) == (True, told(policy, 95))


class NoLiveness(FakeEngine):
    judges_liveness = False


def test_a_live_face_is_not_required_of_a_pack_that_can_not_tell(tmp_path: Path) -> None:
    settings = read_settings(model_path="fake", data_dir=tmp_path, liveness=LivenessPolicy.REQUIRE)
    with (
        pytest.raises(ConfigurationError, match="FACEREC_LIVENESS=require"),
        open_service(settings, engine=NoLiveness()),
    ):
        pass
