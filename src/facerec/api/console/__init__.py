"""The console at /console: static pages, which ask the REST door as any other client does.

Its files need no key, for they say nothing of this service; what they ask for does. They are plain modules,
served as they are, and load nothing from elsewhere.
"""

from __future__ import annotations

from os import PathLike, stat_result
from pathlib import Path

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

PATH = "/console"

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Content-Security-Policy: nothing comes from elsewhere, and neither script nor style stands in a page."""

HEADERS = {
    "Cache-Control": "no-cache",  # asked for anew after an upgrade, and answered by 304 else
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}


def console_routes() -> list[BaseRoute]:
    """The routes of the console."""
    files = ConsoleFiles(directory=Path(__file__).parent / "static", html=True)
    return [Route(PATH, _with_slash), Mount(PATH, files)]


class ConsoleFiles(StaticFiles):
    """The files, with the headers that keep a page to itself."""

    def file_response(
        self,
        full_path: str | PathLike[str],
        stat_result: stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """A file, or that it has not changed."""
        answer = super().file_response(full_path, stat_result, scope, status_code)
        answer.headers.update(HEADERS)
        return answer


async def _with_slash(_request: Request) -> Response:
    """The page's own address; relative, for a proxy may serve the service below a path."""
    return RedirectResponse("console/")
