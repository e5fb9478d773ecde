"""Fetches one pinned file over HTTP: streamed, resumed after a break, checked while it comes.

Only the file that the caller has pinned can come out: a wrong size or SHA-256 is refused and the partial
file removed.
"""

from __future__ import annotations

import hashlib
import os
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, LocationValueError

from facerec.engine.packs.registry import PinnedFile
from facerec.errors import DownloadFailed, PackError

Progress = Callable[[int, int], None]
"""Told (bytes there, bytes in all) while a file comes."""

BLOCK = 256 * 1024
TIMEOUT = urllib3.Timeout(connect=10, read=30)
"""Seconds to connect, and without a single byte."""
MAX_REDIRECTS = 5
ATTEMPTS = 5
"""Failures in a row, without a byte gained between them, after which a download is given up."""
FIRST_PAUSE = 0.5
"""Seconds before the second attempt; doubled for each further one."""
RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


class _Interrupted(Exception):
    """The transfer broke in a way that a further attempt may mend."""


class Downloader:
    """Downloads pinned files. `first_pause` shortens the pauses between attempts in tests."""

    def __init__(self, *, first_pause: float = FIRST_PAUSE, timeout: urllib3.Timeout = TIMEOUT) -> None:
        self._first_pause = first_pause
        self._timeout = timeout

    def fetch(self, address: str, file: PinnedFile, target: Path, progress: Progress) -> None:
        """Bring `file` from `address` to `target`, which is there only when it is whole and right.

        What came before a break stays in `target`.part, beside a note of the server's ETag, and the next
        attempt or the next call asks for the rest. Raises DownloadFailed, PackError for a file that is not
        the pinned one.
        """
        _check_scheme(address)
        part = target.with_name(target.name + ".part")
        failures = 0
        furthest = _size(part)
        while True:
            try:
                self._transfer(address, file, part, progress)
                break
            except (_Interrupted, HTTPError, OSError) as error:
                failures = 1 if _size(part) > furthest else failures + 1
                furthest = max(furthest, _size(part))
                if failures >= ATTEMPTS:
                    raise DownloadFailed(f"{address}: {_reason(error)} ({ATTEMPTS} attempts)") from error
                time.sleep(self._first_pause * 2 ** (failures - 1))
        _check_whole(part, file, address)
        os.replace(part, target)
        _validator_file(part).unlink(missing_ok=True)

    def _transfer(self, address: str, file: PinnedFile, part: Path, progress: Progress) -> None:
        """One attempt to append what `part` lacks."""
        start = _size(part)
        if start > file.size:
            part.unlink()
            start = 0
        if start == file.size:
            return
        headers = {"Accept-Encoding": "identity", "User-Agent": "facerec"}
        if start:
            headers["Range"] = f"bytes={start}-"
            validator = _read_validator(part)
            if validator:
                # Another file at the address now: the server answers 200 with all of it, and we start anew.
                headers["If-Range"] = validator
        with closing(self._open(address, headers)) as response:
            start = _agreed_start(response, address, part, start)
            self._receive(response, file, part, start, progress)

    def _open(self, address: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """GET, following redirects that keep to https where it began with it."""
        for _ in range(MAX_REDIRECTS + 1):
            response = _pool(address).request(
                "GET",
                address,
                headers=headers,
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
                timeout=self._timeout,
            )
            location = response.headers.get("Location")
            if response.status not in (301, 302, 303, 307, 308) or not location:
                return response
            response.close()
            following = urljoin(address, location)
            _check_scheme(following)
            if urlsplit(address).scheme == "https" and urlsplit(following).scheme != "https":
                raise DownloadFailed(f"{address} redirects from https to {following}, which is not encrypted")
            address = following
        raise DownloadFailed(f"{address}: more than {MAX_REDIRECTS} redirects")

    def _receive(
        self, response: urllib3.BaseHTTPResponse, file: PinnedFile, part: Path, start: int, progress: Progress
    ) -> None:
        """Append the body to `part` from byte `start` on, never past the pinned size."""
        _write_validator(part, response.headers)
        with part.open("r+b" if part.exists() else "wb") as out:
            out.truncate(start)
            out.seek(start)
            done = start
            progress(done, file.size)
            for block in response.stream(BLOCK, decode_content=False):
                done += len(block)
                if done > file.size:
                    out.close()
                    part.unlink()
                    raise PackError(
                        f"{file.name} is longer than the {file.size} bytes it must have; nothing was kept"
                    )
                out.write(block)
                progress(done, file.size)
        if done < file.size:
            raise _Interrupted(f"the transfer ended after {done} of {file.size} bytes")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, lower case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _agreed_start(response: urllib3.BaseHTTPResponse, address: str, part: Path, start: int) -> int:
    """The byte that the answer's body begins with; raises where there is no usable answer."""
    status = response.status
    if status == 200:
        return 0
    if status == 206:
        if response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            return start
        part.unlink(missing_ok=True)
        raise _Interrupted("the server sent another range than the one asked for")
    if status == 416:
        part.unlink(missing_ok=True)
        raise _Interrupted("the file at the server is shorter than what came before")
    if status in RETRIED_STATUS:
        raise _Interrupted(f"the server answered {status}")
    raise DownloadFailed(f"{address}: the server answered {status}")


def _check_whole(part: Path, file: PinnedFile, address: str) -> None:
    digest = sha256_of(part)
    if digest == file.sha256:
        return
    part.unlink()
    _validator_file(part).unlink(missing_ok=True)
    raise PackError(
        f"{address} is not the expected {file.name}: its SHA-256 is {digest}, it must be {file.sha256}; "
        "nothing was kept"
    )


def _check_scheme(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DownloadFailed(f"{address!r} is no http or https address")


def _pool(address: str) -> urllib3.PoolManager:
    """Connections to the host, through the proxy that the machine's settings name for it."""
    parts = urlsplit(address)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy if "://" in proxy else f"http://{proxy}")
    return urllib3.PoolManager()


def _reason(error: Exception) -> str:
    """A sentence of an error, without the memory addresses of urllib3's objects.

    The order matters: in urllib3 the first kind is a subclass of the second, and that of the third.
    """
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "the host's name could not be resolved"
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return "the connection was refused"
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return "no connection in time"
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return "the server fell silent"
    if isinstance(error, urllib3.exceptions.ProxyError):
        return f"the proxy refused ({error.original_error})"
    if isinstance(error, LocationValueError):
        return "the address is not usable"
    return str(error) or type(error).__name__


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _validator_file(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _read_validator(part: Path) -> str | None:
    """The server's ETag or date of the file that `part` is the beginning of."""
    path = _validator_file(part)
    return path.read_text("latin-1") if path.exists() else None


def _write_validator(part: Path, headers: urllib3.HTTPHeaderDict) -> None:
    etag = headers.get("ETag", "")
    # A weak ETag does not promise equal bytes, so it cannot guard a range (RFC 9110, 13.1.5).
    validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
    if validator:
        _validator_file(part).write_text(validator, "latin-1")
    else:
        _validator_file(part).unlink(missing_ok=True)
