"""A real Chromium for the tests of pages, and what is held against every page that is shown in it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.base import AXE_FILE_PATH

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

HINDERING = frozenset({"serious", "critical"})
"""Impacts of findings of axe that no page may have."""


@contextlib.contextmanager
def chromium(*, camera: str | None = None) -> Iterator[Browser]:
    """A Chromium without a window; the test is skipped where the machine has none.

    camera: path of a .mjpeg or .y4m file that the camera shows; the camera is granted to whoever asks.
    """
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"]
    if camera is not None:
        arguments += [
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-video-capture={camera}",
        ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


class Watch:
    """What goes wrong in a page: errors of its scripts, and requests to elsewhere."""

    def __init__(self, page: Page, origin: str) -> None:
        """origin: the address that every request has to go to."""
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        self._origin = origin
        page.on("console", self._told)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._requested)

    def _told(self, message: ConsoleMessage) -> None:
        # An answer of the service that is an error is the page's to show, and no error of the page.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.errors.append(message.text)

    def _requested(self, request: Request) -> None:
        if not request.url.startswith((f"{self._origin}/", "blob:")):
            self.elsewhere.append(request.url)

    def check(self) -> None:
        """Fail if anything has gone wrong."""
        assert self.errors == []
        assert self.elsewhere == []


def hindrances(page: Page, *, rules: Sequence[str] = ()) -> list[str]:
    """What keeps people from using the page as it is shown, as axe finds it; rules: none but these."""
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = list(rules)
    page.evaluate(AXE_FILE_PATH.read_text(encoding="utf-8"))
    found = page.evaluate("options => axe.run(document, options)", options)
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        if one["impact"] in HINDERING
        for node in one["nodes"]
    ]
