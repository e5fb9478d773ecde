"""/health, /health/live and /health/ready: every part by name, to whom, and in what time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from wire_server import Running, running

from facerec.access import KeyKind, Scope
from facerec.api.health import LIMIT_SECONDS
from facerec.engine.fake import FakeEngine
from facerec.services.keys import KeyLimits
from redis_server import RedisServer

PARTS = {"model", "database", "vector_store", "sessions", "queue", "disk"}
FOR_ANOTHER = {"X-Forwarded-For": "203.0.113.7"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("health")) as server:
        yield server


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.remove()


def told(server: Running, path: str = "/health", **headers: str) -> tuple[int, dict[str, Any]]:
    answer = httpx.get(server.url + path, headers=headers, timeout=30)
    return answer.status_code, answer.json()


def test_every_part_is_told_by_name_with_its_status_and_time(server: Running) -> None:
    status, answer = told(server)
    assert (status, answer["status"]) == (200, "ok")
    assert set(answer["parts"]) == PARTS
    names = {name: part["name"] for name, part in answer["parts"].items()}
    assert names == {
        "model": "fake",
        "database": "sqlite",
        "vector_store": "embedded",
        "sessions": "sqlite",
        "queue": "sqlite",
        "disk": "local",
    }
    for part in answer["parts"].values():
        assert part["status"] == "ok"
        assert 0 <= part["milliseconds"] < 1000 * LIMIT_SECONDS
    assert answer["parts"]["model"]["dimension"] == 128


def test_live_and_ready_say_no_more_than_they_are_asked(server: Running) -> None:
    assert told(server, "/health/live") == (200, {"status": "ok"})
    assert told(server, "/health/ready") == (200, {"status": "ok"})


@pytest.mark.parametrize("headers", [FOR_ANOTHER, {"Host": "faces.example.com"}])
def test_others_are_told_how_the_parts_are_and_nothing_else(server: Running, headers: dict[str, str]) -> None:
    status, answer = told(server, **headers)
    assert status == 200
    assert answer == {"status": "ok", "parts": {name: {"status": "ok"} for name in PARTS}}


def test_a_key_shows_the_details_from_anywhere(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        keys = server.service.keys
        reader = keys.create(kind=KeyKind.API, limits=KeyLimits(scope=Scope.READ)).secret
        limited = keys.create(kind=KeyKind.API, limits=KeyLimits(collections=("door-1",))).secret
        assert "process" in told(server, **FOR_ANOTHER, Authorization=f"Bearer {reader}")[1]
        assert "process" in told(server, **{**FOR_ANOTHER, "X-API-Key": reader})[1]
        for wrong in (limited, "frk_ABCDEFGHABCDEFGH.c2VjcmV0"):
            status, answer = told(server, **{**FOR_ANOTHER, "X-API-Key": wrong})
            assert (status, "process" in answer) == (200, False)


def test_in_production_this_machine_needs_a_key_too(tmp_path: Path) -> None:
    with running(tmp_path, environment="production") as server:
        assert set(told(server)[1]) == {"status", "parts"}


def test_a_redis_that_hangs_is_named_in_time_and_the_service_goes_on(
    tmp_path: Path, redis: RedisServer
) -> None:
    with running(tmp_path, redis_url=redis.url) as server:
        assert told(server)[1]["parts"]["sessions"]["name"] == "redis"
        redis.freeze()
        time.sleep(1.1)  # what was found is told again for a second
        began = time.monotonic()
        status, answer = told(server)
        assert time.monotonic() - began < LIMIT_SECONDS + 2
        assert (status, answer["status"]) == (200, "degraded")
        assert answer["parts"]["sessions"]["status"] in ("timeout", "unavailable")
        assert answer["parts"]["database"]["status"] == "ok"
        assert told(server, "/health/ready")[0] == 200
        assert redis.url not in str(answer)


def test_without_a_model_it_lives_and_is_not_ready(tmp_path: Path) -> None:
    engine = FakeEngine()
    with running(tmp_path, engine=engine) as server:
        engine.close()
        assert told(server, "/health/ready") == (503, {"status": "unavailable"})
        status, answer = told(server)
        assert (status, answer["parts"]["model"]["status"]) == (503, "unavailable")
        assert told(server, "/health/live")[0] == 200
