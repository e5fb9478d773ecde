"""What whoever runs the service asks over REST: keys, the queue, settings, the model pack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from wire_server import Running, running

from facerec.access import KeyKind, Scope
from facerec.config import Settings, read_settings
from facerec.engine.packs.accuracy import FILE_NAME, SHIPPED, read_accuracy
from facerec.errors import PackError
from facerec.jobs.base import NewJob
from facerec.services.keys import KeyLimits

SECRET = "a-password-that-nobody-reads"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    hidden: dict[str, Any] = {
        "api_key": SECRET,
        "webhook_secret": SECRET,
        "qdrant_api_key": SECRET,
        "sqs_endpoint_url": f"http://me:{SECRET}@127.0.0.1:9/q",
    }
    with running(tmp_path_factory.mktemp("operating"), **hidden) as server:
        yield server


def client(server: Running, scope: Scope, *collections: str) -> httpx.Client:
    limits = KeyLimits(scope=scope, collections=collections)
    made = server.service.keys.create(kind=KeyKind.API, limits=limits)
    return httpx.Client(base_url=f"{server.url}/api/v1", headers={"X-API-Key": made.secret}, timeout=30)


@pytest.fixture(scope="module")
def admin(server: Running) -> Iterator[httpx.Client]:
    with client(server, Scope.ADMIN) as opened:
        yield opened


@pytest.mark.parametrize("scope", [Scope.READ, Scope.WRITE])
def test_keys_and_settings_are_for_admins(server: Running, scope: Scope) -> None:
    with client(server, scope) as api:
        for method, path in (
            ("GET", "/keys"),
            ("POST", "/keys"),
            ("DELETE", "/keys/frk_A"),
            ("POST", "/keys/frk_A/rotate"),
            ("GET", "/settings"),
            ("GET", "/audit"),
        ):
            answer = api.request(method, path, json={} if method == "POST" else None)
            assert (answer.status_code, answer.json()["code"]) == (403, "AccessDenied"), path
        assert api.post("/jobs/retry", json={"job_ids": ["1"]}).is_success == (scope is Scope.WRITE)


@pytest.mark.parametrize(
    ("scope", "collections", "status"),
    [(Scope.READ, (), 403), (Scope.WRITE, ("other",), 403), (Scope.WRITE, ("album",), 404)],
)
def test_photos_at_their_sources_are_for_keys_that_write(
    server: Running, scope: Scope, collections: tuple[str, ...], status: int
) -> None:
    with client(server, scope, *collections) as api:
        assert api.get("/albums/album/images/1/source").status_code == status


def test_a_key_for_some_collections_runs_no_service(server: Running) -> None:
    with client(server, Scope.ADMIN, "door-*") as api:
        for path in ("/audit", "/keys", "/settings", "/jobs", "/jobs/set-aside"):
            assert api.get(path).status_code == 403, path
        assert api.post("/keys", json={"scope": "admin"}).status_code == 403
        assert api.get("/model").status_code == 200


def test_a_key_is_made_used_and_revoked(server: Running, admin: httpx.Client) -> None:
    body = {"label": "gate", "scope": "read", "collections": ["door-*"], "rate": "600/m", "expires_in": 3600}
    answer = admin.post("/keys", json=body)
    assert answer.status_code == 201
    made = answer.json()
    assert (made["key"]["label"], made["key"]["kind"], made["key"]["scope"]) == ("gate", "api", "read")
    assert (made["key"]["collections"], made["key"]["rate"], made["key"]["active"]) == (
        ["door-*"],
        "600/m",
        True,
    )
    headers = {"X-API-Key": made["secret"]}
    assert httpx.get(f"{server.url}/api/v1/whoami", headers=headers).json()["scope"] == "read"
    listed = admin.get("/keys")
    assert made["key"] in listed.json()["keys"]
    assert made["secret"] not in listed.text
    assert admin.delete(f"/keys/{made['key']['key_id']}").status_code == 204
    assert httpx.get(f"{server.url}/api/v1/whoami", headers=headers).status_code == 401
    assert admin.delete("/keys/frk_NOBODY").json()["code"] == "NotFound"


def test_a_key_gets_another_secret_and_the_old_one_is_taken_for_a_while(
    server: Running, admin: httpx.Client
) -> None:
    def state(secret: str) -> int:
        return httpx.get(f"{server.url}/api/v1/whoami", headers={"X-API-Key": secret}).status_code

    first = admin.post("/keys", json={"label": "hall", "collections": ["hall"]}).json()
    path = f"/keys/{first['key']['key_id']}/rotate"
    second = admin.post(path, json={}).json()
    assert second["key"]["key_id"] == first["key"]["key_id"]
    assert second["key"]["collections"] == ["hall"]
    assert second["key"]["previous_until"] is not None
    assert (state(first["secret"]), state(second["secret"])) == (200, 200)
    third = admin.post(path, json={"grace_seconds": 0}).json()
    assert [state(made["secret"]) for made in (first, second, third)] == [401, 401, 200]
    assert admin.post(path, json={"grace_seconds": -1}).status_code == 422
    assert admin.post("/keys/frk_NOBODY/rotate", json={}).json()["code"] == "NotFound"
    admin.delete(f"/keys/{first['key']['key_id']}")
    assert admin.post(path, json={}).json()["code"] == "Conflict"


def test_the_audit_log_is_read_page_by_page(server: Running, admin: httpx.Client) -> None:
    made = [
        admin.post("/keys", json={"label": f"key{number}"}).json()["key"]["key_id"] for number in range(5)
    ]
    admin.post("/collections", json={"collection_id": "audited"})
    admin.delete("/collections/audited")
    whole = admin.get("/audit", params={"limit": 1000}).json()
    assert whole["next_token"] is None
    assert [one["operation"] for one in whole["entries"][:3]] == [
        "DELETE /collections/{collection_id}",
        "POST /collections",
        "POST /keys",
    ]
    assert [one["access_key"] for one in whole["entries"][2:7]] == made[::-1]
    assert whole["entries"][0]["collection"] == "audited"
    paged: list[Any] = []
    token = None
    while True:
        page = admin.get("/audit", params={"limit": 2, **({"next_token": token} if token else {})}).json()
        paged += page["entries"]
        token = page["next_token"]
        if token is None:
            break
        assert len(page["entries"]) == 2
    assert paged == whole["entries"]
    assert admin.get("/audit", params={"person": "nobody"}).json()["entries"] == []
    token = admin.get("/audit", params={"limit": 2}).json()["next_token"]
    for wrong in (
        {"next_token": "x"},
        {"next_token": f"A{token[1:]}A"},
        {"next_token": token, "person": "ann"},
    ):
        answer = admin.get("/audit", params=wrong)
        assert (answer.status_code, answer.json()["code"]) == (400, "InvalidPaginationToken"), wrong


@pytest.mark.parametrize("wrong", [{"rate": "often"}, {"collections": ["a b"]}])
def test_limits_that_are_none_are_refused(admin: httpx.Client, wrong: dict[str, object]) -> None:
    before = admin.get("/keys").json()
    answer = admin.post("/keys", json={"label": "x", **wrong})
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")
    assert admin.get("/keys").json() == before


def test_settings_are_told_and_secrets_are_not(admin: httpx.Client) -> None:
    answer = admin.get("/settings")
    told = {one["name"]: one for one in answer.json()["settings"]}
    assert len(told) == len(Settings.model_fields)
    assert told["FACEREC_REGISTRY_COLLECTION"]["value"] == "persons"
    assert (told["API_KEY"]["value"], told["API_KEY"]["secret"], told["API_KEY"]["given"]) == (
        None,
        True,
        True,
    )
    assert told["REDIS_URL"]["secret"]
    assert not told["REDIS_URL"]["given"]
    assert told["FACEREC_SQS_ENDPOINT_URL"]["value"] == "http://127.0.0.1:9/q"
    assert SECRET not in answer.text


def test_jobs_are_counted_and_tried_again(server: Running, admin: httpx.Client) -> None:
    queue = server.service.jobs
    queue.put([NewJob(kind="odd", payload={"photo": 7}), NewJob(kind="odd", payload={"photo": 8})])
    [job] = queue.lease(["odd"], 1, seconds=60)
    queue.set_aside(job, reason="the photo is gone")
    [told] = [one for one in admin.get("/jobs").json()["kinds"] if one["kind"] == "odd"]
    assert (told["waiting"], told["at_work"], told["set_aside"]) == (1, 0, 1)
    [aside] = admin.get("/jobs/set-aside", params={"kind": "odd"}).json()["jobs"]
    assert (aside["reason"], aside["payload"]) == ("the photo is gone", {"photo": 7})
    assert admin.post("/jobs/retry", json={"job_ids": [aside["job_id"]]}).json() == {"jobs": 1}
    assert admin.get("/jobs/set-aside").json() == {"jobs": []}


def test_the_model_pack_is_told(admin: httpx.Client) -> None:
    told = admin.get("/model").json()
    assert told["pack"] == "fake"
    assert told["accuracy"] is None
    assert [one["similarity"] for one in told["thresholds"]] == [50, 80, 90, 95, 99]
    cosines = [one["cosine"] for one in told["calibration"]]
    assert cosines == sorted(cosines)


def test_what_was_measured_of_a_pack_lies_with_it(tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    pack.mkdir()
    settings = read_settings(model_path=str(pack), data_dir=tmp_path)
    assert read_accuracy(settings) is None
    (pack / FILE_NAME).write_bytes(SHIPPED.read_bytes())
    found = read_accuracy(settings)
    assert found is not None
    assert [point.far for point in found.points] == [1e-2, 1e-3, 1e-4, 1e-5]
    assert all(point.low <= point.tar <= point.high for point in found.points)
    assert found.accuracy == pytest.approx(0.9933, abs=1e-4)
    (pack / FILE_NAME).write_text(json.dumps({"Pairs": 3}))
    with pytest.raises(PackError, match="is not as `facerec eval --keep` writes it"):
        read_accuracy(settings)
