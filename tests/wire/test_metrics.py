"""/metrics: what is counted, who may read it, and that it is as Prometheus wants it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from botocore.exceptions import ClientError
from prometheus_client.parser import text_string_to_metric_families
from wire_server import Running, inline, running

from facerec.access import KeyKind, Scope
from facerec.engine.fake import draw
from facerec.jobs.base import NewJob
from facerec.services.keys import KeyLimits

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
SECONDS = re.compile(r"_seconds(_total|_bucket|_sum|_count)?$")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("metrics"), result_cache_mib=1, rate_limit="10000/s") as server:
        yield server


def samples(server: Running) -> Samples:
    """Every sample of /metrics, by its name and labels."""
    answer = httpx.get(server.url + "/metrics", timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def risen(before: Samples, after: Samples, name: str, **labels: str) -> float:
    """By how much a sample has risen; it may not have been there before."""
    key = (name, frozenset(labels.items()))
    return after[key] - before.get(key, 0.0)


def test_requests_are_counted_and_timed_by_door_operation_and_outcome(server: Running) -> None:
    before = samples(server)
    client = server.client()
    client.create_collection(CollectionId="people")
    for _ in range(3):
        client.detect_faces(Image=inline(draw("ann")))
    with pytest.raises(ClientError):
        client.list_faces(CollectionId="nobody")
    for path in ("/collections", "/collections/nobody"):
        httpx.get(server.url + "/api/v1" + path)
    after = samples(server)

    def requests(door: str, operation: str, status: str) -> float:
        return risen(before, after, "facerec_requests_total", door=door, operation=operation, status=status)

    assert requests("rekognition", "DetectFaces", "200") == 3
    assert requests("rekognition", "ListFaces", "400") == 1
    assert requests("rest", "collections_list_collections", "200") == 1
    assert requests("rest", "collections_describe", "404") == 1
    errors = "facerec_request_errors_total"
    missing = {"operation": "ListFaces", "code": "ResourceNotFoundException"}
    assert risen(before, after, errors, door="rekognition", **missing) == 1
    gone = {"operation": "collections_describe", "code": "NotFound"}
    assert risen(before, after, errors, door="rest", **gone) == 1
    times = {"door": "rekognition", "operation": "DetectFaces"}
    assert risen(before, after, "facerec_request_duration_seconds_count", **times) == 3
    assert 0 < risen(before, after, "facerec_request_duration_seconds_sum", **times) < 30
    assert risen(before, after, "facerec_wait_duration_seconds_count", reason="thread") >= 5
    assert after["facerec_requests_in_progress", frozenset()] == 1  # the one that asks


def test_a_name_that_is_made_up_makes_no_series(server: Running) -> None:
    before = len(samples(server))
    for name in ("MadeUp1", "MadeUp2", "MadeUp3"):
        httpx.post(server.url, headers={"X-Amz-Target": f"RekognitionService.{name}"}, content=b"{}")
        httpx.get(f"{server.url}/api/v1/{name}")
        httpx.get(f"{server.url}/{name}")
    assert len(samples(server)) - before < 60  # the first of each kind, not one for each name
    again = len(samples(server))
    for name in ("MadeUp4", "MadeUp5"):
        httpx.post(server.url, headers={"X-Amz-Target": f"RekognitionService.{name}"}, content=b"{}")
        httpx.get(f"{server.url}/api/v1/{name}")
    assert len(samples(server)) == again


def test_there_is_as_much_as_was_stored(server: Running) -> None:
    client = server.client()
    with suppress(ClientError):
        client.create_collection(CollectionId="people")
    client.index_faces(CollectionId="people", Image=inline(draw("ann", "ben")))
    client.create_user(CollectionId="people", UserId="ann")
    server.service.jobs.put([NewJob(kind="never-done", payload={}), NewJob(kind="never-done", payload={})])
    figures = _once_fresh(server, "facerec_faces", 2)
    assert figures["facerec_collections", frozenset()] == 1
    assert figures["facerec_users", frozenset()] == 1
    where = {("queue", "sqlite"), ("kind", "never-done")}
    assert figures["facerec_jobs", frozenset({*where, ("state", "waiting")})] == 2
    assert figures["facerec_jobs", frozenset({*where, ("state", "set_aside")})] == 0
    assert figures["facerec_jobs_oldest_seconds", frozenset(where)] >= 0
    assert figures["facerec_part_up", frozenset({("part", "database"), ("name", "sqlite")})] == 1
    assert figures["facerec_index_changes_behind", frozenset()] == 0
    info = next(dict(labels) for name, labels in figures if name == "facerec_build_info")
    assert (info["pack"], info["database"], info["vector_store"]) == ("fake", "sqlite", "embedded")
    memory = figures["process_resident_memory_bytes", frozenset({("process", "facerec")})]
    assert memory > 2**20


def _once_fresh(server: Running, name: str, value: float) -> Samples:
    """Figures are kept for some seconds; another application of the same service counts anew."""
    from wire_server import listening

    from facerec.api.app import create_app

    with listening(create_app(server.service)) as url:
        figures = samples(Running(server.service, url))
    assert figures[name, frozenset()] == value
    return figures


def test_searches_images_and_the_cache_are_counted(server: Running) -> None:
    client = server.client()
    with suppress(ClientError):
        client.create_collection(CollectionId="people")
    before = samples(server)
    picture = draw("zoe")
    client.search_faces_by_image(CollectionId="people", Image=inline(draw("ann")))
    client.detect_faces(Image=inline(picture))
    client.detect_faces(Image=inline(picture))
    after = samples(server)
    assert risen(before, after, "facerec_vector_search_duration_seconds_count") == 1
    assert risen(before, after, "facerec_images_total", source="bytes") == 3
    assert risen(before, after, "facerec_image_bytes_total", source="bytes") > 2 * len(picture)
    assert risen(before, after, "facerec_result_cache_requests_total", result="hit") >= 1
    assert risen(before, after, "facerec_database_transaction_duration_seconds_count", kind="read") > 0


def test_refusals_by_rate_are_counted(tmp_path: Path) -> None:
    with running(tmp_path, rate_limit="1/h") as server:
        before = samples(server)
        assert httpx.get(server.url + "/api/v1/collections").status_code == 200
        assert httpx.get(server.url + "/api/v1/collections").status_code == 429
        after = samples(server)  # on this machine, without a key: not against the rate
    assert risen(before, after, "facerec_rate_limited_total") == 1


def test_names_are_as_prometheus_wants_them(server: Running) -> None:
    text = httpx.get(server.url + "/metrics").text
    for family in text_string_to_metric_families(text):
        assert family.name.startswith(("facerec_", "process_")), family.name
        assert family.documentation, family.name
        for sample in family.samples:
            if family.type == "counter":
                assert sample.name.endswith("_total"), sample.name
            if "duration" in sample.name:
                assert SECONDS.search(sample.name), sample.name
            assert not {"collection", "face_id", "user_id", "path", "client"} & set(sample.labels)


def test_others_need_a_key_that_may_read(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        url, elsewhere = server.url + "/metrics", {"X-Forwarded-For": "203.0.113.7"}
        answer = httpx.get(url, headers=elsewhere)
        assert (answer.status_code, answer.json()["code"]) == (401, "MissingCredentials")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        keys = server.service.keys
        reader = keys.create(kind=KeyKind.API, limits=KeyLimits(scope=Scope.READ)).secret
        limited = keys.create(kind=KeyKind.API, limits=KeyLimits(collections=("door-1",))).secret
        assert httpx.get(url, headers={**elsewhere, "Authorization": f"Bearer {reader}"}).status_code == 200
        assert httpx.get(url, headers={**elsewhere, "X-API-Key": reader}).status_code == 200
        assert httpx.get(url, headers={**elsewhere, "X-API-Key": limited}).status_code == 403
        assert httpx.get(url, headers={**elsewhere, "X-API-Key": reader + "x"}).status_code == 401


@pytest.mark.parametrize(("access", "status"), [("open", 200), ("key", 401), ("off", 404)])
def test_the_setting_says_who_may(tmp_path: Path, access: str, status: int) -> None:
    with running(tmp_path, metrics_access=access) as server:
        assert httpx.get(server.url + "/metrics").status_code == status
