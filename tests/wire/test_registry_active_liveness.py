"""Liveness sessions as proofs at the registry over HTTP, where FACEREC_LIVENESS=active asks for them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from wire_server import running

from acting import Actor, drawn, without_haste
from facerec.bootstrap import open_service
from facerec.config import read_settings
from facerec.domain import LivenessPolicy
from facerec.engine.fake import FakeEngine, draw
from facerec.errors import ConfigurationError


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("data")
    with (
        running(folder, liveness=LivenessPolicy.ACTIVE, liveness_steps=2) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        without_haste(server.service.liveness)
        yield client


def picture(*people: str, variation: int = 0, dim: bool = False) -> str:
    return base64.b64encode(draw(*people, variation=variation, dim=dim)).decode()


def proof(api: httpx.Client, person: str) -> str:
    """The id of a session in which somebody has done what was asked."""
    session_id: str = api.post("/api/v1/liveness/sessions", json={}).json()["session_id"]
    actor = Actor(api, session_id, drawn(person))
    actor.obey()
    assert actor.answer["status"] == "SUCCEEDED"
    return session_id


def used(api: httpx.Client, session_id: str) -> bool:
    return bool(api.get(f"/api/v1/liveness/sessions/{session_id}").json()["used"])


def register(api: httpx.Client, person: str, session_id: str | None, **more: Any) -> httpx.Response:
    body = {"person_id": person, "images": [picture(person, **more)], "liveness_session_id": session_id}
    return api.post("/register", json=body)


def refused(answer: httpx.Response, status: int = 422, code: str = "NotLive") -> str:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    return str(answer.json()["message"])


def test_a_proof_serves_once(api: httpx.Client) -> None:
    assert "liveness_session_id" in refused(register(api, "ann", None))
    session_id = proof(api, "ann")
    assert register(api, "ann", session_id).status_code == 201
    assert used(api, session_id)
    verified = {"image": picture("ann", variation=1), "liveness_session_id": session_id}
    assert "used already" in refused(api.post("/verify", json=verified))
    verified["liveness_session_id"] = proof(api, "ann")
    assert api.post("/verify", json=verified).json()["person_id"] == "ann"


def test_a_proof_is_of_one_person(api: httpx.Client) -> None:
    session_id = proof(api, "eve")
    assert "another person" in refused(register(api, "bob", session_id))
    assert "another person" in refused(
        api.post("/verify", json={"image": picture("bob"), "liveness_session_id": session_id})
    )
    assert "nobody of the picture" in refused(
        api.post("/identify", json={"image": picture("bob", "cid"), "liveness_session_id": session_id})
    )
    assert not used(api, session_id)
    found = api.post(
        "/identify", json={"image": picture("bob", "eve"), "liveness_session_id": session_id}
    ).json()
    assert len(found["faces"]) == 2
    assert used(api, session_id)


def test_an_enrolment_that_is_refused_uses_no_proof(api: httpx.Client) -> None:
    session_id = proof(api, "dan")
    assert register(api, "dan", session_id, dim=True).json()["code"] == "PoorQuality"
    assert not used(api, session_id)
    assert register(api, "dan", session_id).status_code == 201


def test_what_proves_nothing(api: httpx.Client) -> None:
    unfinished = api.post("/api/v1/liveness/sessions", json={}).json()["session_id"]
    assert "CREATED" in refused(register(api, "fay", unfinished))
    nobody = "00000000-0000-0000-0000-000000000000"
    refused(register(api, "fay", nobody), 404, "SessionNotFound")


def test_changes_and_registration_sessions(api: httpx.Client) -> None:
    opened = api.post("/registrations", json={"person_id": "gus"}).json()["session_id"]
    assert api.post(f"/registrations/{opened}/frames", json={"image": picture("gus")}).json()["accepted"]
    refused(api.post(f"/registrations/{opened}/commit"))
    given = {"liveness_session_id": proof(api, "gus")}
    assert api.post(f"/registrations/{opened}/commit", params=given).status_code == 200
    assert api.put("/faces/gus", json={"metadata": {"floor": 2}}).status_code == 200
    more = {"images": [picture("gus", variation=1)]}
    refused(api.put("/faces/gus", json=more))
    assert api.put("/faces/gus", json={**more, "liveness_session_id": proof(api, "gus")}).status_code == 200


class WithoutMouth(FakeEngine):
    points = frozenset({"eyeLeft", "eyeRight", "nose"})


def test_it_is_not_required_where_no_session_can_be_held(tmp_path: Path) -> None:
    settings = read_settings(model_path="fake", data_dir=tmp_path, liveness=LivenessPolicy.ACTIVE)
    with (
        pytest.raises(ConfigurationError, match="FACEREC_LIVENESS=active"),
        open_service(settings, engine=WithoutMouth()),
    ):
        pass
