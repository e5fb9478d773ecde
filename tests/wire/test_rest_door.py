"""The REST door as a whole: how much it lets in, what it says when it is full, and its page."""

from __future__ import annotations

import base64
import html.parser
import logging
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from wire_server import Running, running

from facerec.engine.base import Picture
from facerec.engine.fake import FakeEngine, draw
from facerec.errors import Cancelled

PICTURE = base64.b64encode(draw("ann")).decode()


class HeldEngine(FakeEngine):
    """Does nothing before it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.released = threading.Event()

    def decode(self, data: bytes) -> Picture:
        self.entered.set()
        assert self.released.wait(60)
        return super().decode(data)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("service"), max_queue=1) as server:
        yield server


def test_a_full_service_asks_to_try_again(tmp_path: Path) -> None:
    engine = HeldEngine()
    with (
        running(tmp_path, engine=engine, max_queue=1) as server,
        httpx.Client(base_url=f"{server.url}/api/v1", timeout=60) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        held = pool.submit(client.post, "/detect-faces", json={"image": PICTURE})
        try:
            assert engine.entered.wait(60)
            refused = [client.get("/collections"), client.post("/detect-faces", json={"image": PICTURE})]
        finally:
            engine.released.set()
        for answer in refused:
            assert (answer.status_code, answer.json()["code"]) == (429, "Overloaded")
            assert int(answer.headers["Retry-After"]) >= 1
        assert len(held.result().json()["faces"]) == 1
        assert client.get("/collections").status_code == 200


def test_a_client_that_sends_slowly_takes_no_place(server: Running) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as waiting:
        waiting.sendall(
            b"POST /api/v1/collections HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 25\r\nExpect: 100-continue\r\n\r\n"
        )
        assert waiting.recv(100).startswith(b"HTTP/1.1 100")
        for _ in range(3):
            assert httpx.get(f"{server.url}/api/v1/collections").status_code == 200
        waiting.sendall(b'{"collection_id":"guests"}'[:25].ljust(25))
        assert waiting.recv(100).startswith(b"HTTP/1.1 ")
    assert httpx.get(f"{server.url}/api/v1/collections").status_code == 200


def test_a_caller_that_has_gone_is_no_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(**_: object) -> None:
        raise Cancelled

    with running(tmp_path) as server:
        monkeypatch.setattr(server.service.collections, "list", gone)
        answer = httpx.get(f"{server.url}/api/v1/collections")
    assert (answer.status_code, answer.json()["code"]) == (503, "Cancelled")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_service_without_keys_answers_under_its_own_names_alone(server: Running) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example"):
        answer = httpx.get(f"{server.url}/api/v1/collections", headers={"Host": host})
        assert (answer.status_code, answer.json()["code"]) == (403, "AccessDenied")


def test_in_production_nobody_comes_in_without_a_key(tmp_path: Path) -> None:
    with running(tmp_path, environment="production", api_key="a-secret-of-the-tests") as server:
        path = f"{server.url}/api/v1/collections"
        assert httpx.get(path).status_code == 401
        assert httpx.get(path, headers={"X-API-Key": "a-secret-of-the-tests"}).status_code == 200


class Addresses(html.parser.HTMLParser):
    """What a page asks for."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href") and value]


def test_the_page_on_the_api_asks_for_nothing_elsewhere(server: Running) -> None:
    page = httpx.get(f"{server.url}/api/v1/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    wanted = Addresses(page.text).found
    assert len(wanted) == 4
    for address in wanted:
        assert address.startswith("docs/")
        assert httpx.get(f"{server.url}/api/v1/{address}").status_code == 200
    for nowhere in ("docs/redoc.standalone.js", "docs/..%2f__init__.py", "docs/x"):
        assert httpx.get(f"{server.url}/api/v1/{nowhere}").status_code == 404


@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no Chromium")
def test_the_page_on_the_api_shows_its_routes_in_a_browser(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        shown = subprocess.run(
            [
                *("chromium", "--headless=new", "--no-sandbox", "--disable-gpu"),
                *("--virtual-time-budget=8000", "--dump-dom", f"{server.url}/api/v1/docs"),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
    assert 'id="operations-faces-faces_search_faces"' in shown
