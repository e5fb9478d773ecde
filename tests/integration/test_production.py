"""A service as others reach it: nothing without a key, nothing for debugging, and safe headers."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest
from serving import Server, serving

KEY = "a key of 32 random characters..."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"ENVIRONMENT": "production", "API_KEY": KEY}
    with serving(tmp_path_factory.mktemp("production") / "data", settings=settings) as started:
        yield started


def answer(
    server: Server, path: str, method: str = "GET", key: str | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", path, headers={} if key is None else {"X-API-Key": key})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, body


@pytest.mark.parametrize("path", ["/debug", "/__debug__", "/docs", "/redoc", "/openapi.json", "/.env"])
def test_there_is_nothing_for_debugging(server: Server, path: str) -> None:
    assert answer(server, path)[0] in (401, 404)
    assert answer(server, path, key=KEY)[0] == 404


@pytest.mark.parametrize("path", ["/metrics", "/persons", "/api/v1/collections"])
def test_nobody_is_let_in_without_a_key(server: Server, path: str) -> None:
    assert answer(server, path)[0] == 401
    assert answer(server, path, key=KEY)[0] == 200


@pytest.mark.parametrize("path", ["/health", "/persons", "/nowhere"])
def test_answers_have_safe_headers(server: Server, path: str) -> None:
    _, headers, _ = answer(server, path)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["server"] == "facerec"  # and no version
    assert "access-control-allow-origin" not in headers


def test_an_error_tells_nothing_of_the_inside(server: Server) -> None:
    status, _, body = answer(server, "/persons?limit=nonsense", key=KEY)
    assert status in (400, 422)
    assert b"Traceback" not in body
    assert b"/site-packages/" not in body


def test_health_without_a_key_tells_no_details(server: Server) -> None:
    status, _, body = answer(server, "/health")
    assert status == 200
    assert b"postgresql" not in body
    assert b"milliseconds" not in body
