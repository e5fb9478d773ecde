"""The capture page in a real Chromium: a film of a real head that turns, shown to the page as its camera."""

from __future__ import annotations

import contextlib
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser import Watch, chromium, hindrances

from acting import still
from facerec.config import read_settings
from facerec.engine.packs.loading import open_engine
from facerec.services.liveness import challenge
from facerec.services.liveness.challenge import Challenge, Step
from facerec.services.liveness.records import Failure, Wishes, encode
from facerec.services.liveness.sessions import KIND
from turning import AHEAD, LEFT, turning_frames, way, write_mjpeg

sys.path.append(str(Path(__file__).parents[1] / "wire"))

from wire_server import Running, running

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.alone

PHONE: Any = {"width": 390, "height": 844}
DESKTOP: Any = {"width": 1280, "height": 800}
PATIENCE = 180_000
"""Milliseconds that a busy machine may take until something is to be seen."""


FOLLOW_REMARKS = """() => {
  window.remarks = [];
  const remark = document.getElementById("remark");
  const follow = () => remarks.push([performance.now(), remark.textContent]);
  new MutationObserver(follow).observe(remark, { childList: true });
}"""
"""Has a page keep each remark that it shows, and since when, in milliseconds."""


class Embedding(BaseHTTPRequestHandler):
    """A page that shows the one that its query names, and keeps what it is told."""

    def do_GET(self) -> None:
        """Answer."""
        body = (
            "<!DOCTYPE html><title>Gate</title><script>var told = [];"
            "addEventListener('message', (event) => told.push(event.data))</script>"
            f'<iframe allow="camera" width="800" height="700" src="{self.path.partition("?")[2]}"></iframe>'
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def embedding() -> Iterator[str]:
    """The origin of `Embedding`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Embedding) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@dataclass(frozen=True)
class Scene:
    """A service, and a browser whose camera shows a head that turns to its left, again and again."""

    server: Running
    browser: Browser
    other: str
    """Origin of a page of somebody else's, which may show the service's."""

    def open(self, *steps: Step, return_url: str | None = None) -> str:
        """The id of a session that asks for these steps: those that the film shows."""
        liveness = self.server.service.liveness
        session = liveness.open(Wishes(return_url=return_url))
        asked = replace(session, challenge=Challenge(steps=steps))
        self.server.service.sessions.put(KIND, session.session_id, encode(asked), seconds=600)
        return session.session_id


@pytest.fixture(scope="module")
def scene(liveness_pack: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("capture")
    film = folder / "camera.mjpeg"
    numbers = [*[AHEAD] * 15, *way(AHEAD, LEFT, each=5), *[LEFT] * 10, *way(LEFT, AHEAD, each=5)]
    write_mjpeg(turning_frames(shared), numbers, film)
    engine = open_engine(read_settings(model_path=str(liveness_pack), data_dir=folder / "packs"))
    with (
        chromium(camera=str(film)) as browser,
        embedding() as other,
        running(folder / "data", engine=engine, allowed_origins=(other,)) as server,
    ):
        yield Scene(server, browser, other)
    engine.close()


@pytest.fixture
def page(scene: Scene) -> Iterator[Page]:
    context = scene.browser.new_context(viewport=DESKTOP, permissions=["camera"])
    opened = context.new_page()
    watch = Watch(opened, scene.server.url)
    yield opened
    watch.check()
    context.close()


def test_a_real_head_does_what_is_asked(scene: Scene, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    # The same twice: the film shows nothing else. It shows it again and again, and nothing here is too late.
    monkeypatch.setattr(scene.server.service.liveness, "clock", still())
    session_id = scene.open(Step.TURN_LEFT, Step.TURN_LEFT)
    page.goto(f"{scene.server.url}/liveness/{session_id}")
    page.get_by_role("button", name="Turn on the camera").click()
    page.get_by_text("Turn your head to your left.").wait_for()
    page.get_by_text("Movement 2 of 2").wait_for(timeout=PATIENCE)
    page.get_by_role("heading", name="Done").wait_for(timeout=PATIENCE)
    session = scene.server.service.liveness.get(session_id)
    assert session.challenge.mistakes == 0
    assert (session.confidence or 0) >= 90


def test_another_movement_is_said_and_fails(
    scene: Scene, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is asked after a mistake is drawn. The film shows many a movement, and never this one.
    monkeypatch.setattr(challenge, "draw_steps", lambda count, after: (Step.COME_CLOSER,) * count)
    session_id = scene.open(Step.COME_CLOSER, Step.COME_CLOSER)
    page.goto(f"{scene.server.url}/liveness/{session_id}")
    page.evaluate(FOLLOW_REMARKS)
    page.get_by_role("button", name="Turn on the camera").click()
    page.get_by_role("heading", name="It did not work out").wait_for(timeout=PATIENCE)
    session = scene.server.service.liveness.get(session_id)
    assert (session.failure, session.challenge.mistakes) == (Failure.TOO_MANY_MISTAKES, 2)
    remarks: list[tuple[float, str]] = page.evaluate("remarks")
    # A busy machine may miss the farthest turn: then it took too long.
    mistake = re.compile("That was another movement|That took too long")
    (said,) = [place for place, (_, text) in enumerate(remarks) if mistake.match(text)]
    (since, _), (until, _) = remarks[said : said + 2]
    assert until - since > 2000, "the next frame has other remarks, and nobody reads that fast"


def test_the_page_that_shows_it_in_a_frame_is_told_the_end(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene.server.service.liveness, "clock", still())
    session_id = scene.open(Step.TURN_LEFT)
    context = scene.browser.new_context(permissions=["camera"])
    page = context.new_page()
    page.goto(f"{scene.other}/?{scene.server.url}/liveness/{session_id}")
    page.frame_locator("iframe").get_by_role("button", name="Turn on the camera").click()
    page.wait_for_function("told.length > 0", timeout=PATIENCE)
    told: list[dict[str, Any]] = page.evaluate("told")
    assert told == [{"type": "facerec-liveness", "session_id": session_id, "status": "SUCCEEDED"}]
    context.close()


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(scene: Scene, size: Any, scheme: Any) -> None:
    context = scene.browser.new_context(viewport=size, color_scheme=scheme, permissions=["camera"])
    page = context.new_page()
    page.goto(f"{scene.server.url}/liveness/{scene.open(Step.TURN_RIGHT)}")
    for view in ("start", "check", "end"):
        if view == "check":
            page.keyboard.press("Tab")
            page.keyboard.press("Enter")
            page.get_by_role("status").wait_for()
        if view == "end":
            page.get_by_role("button", name="Stop").click()
        page.locator(f"#{view}").wait_for()
        assert hindrances(page) == []
        wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert not wide
    context.close()


def test_a_session_that_is_over_says_so(scene: Scene, page: Page) -> None:
    answer = page.goto(f"{scene.server.url}/liveness/00000000-0000-0000-0000-000000000000")
    assert answer is not None
    assert answer.status == 404
    page.get_by_role("heading", name="This check is over").wait_for()
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert f"frame-ancestors 'self' {scene.other};" in policy
    assert answer.headers["referrer-policy"] == "no-referrer"
