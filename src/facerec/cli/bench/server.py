"""The service that is measured: one of this machine that runs already, or one started for the while."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from facerec.config import Settings
from facerec.errors import FacerecError, InvalidParameter

Address = tuple[str, int]
"""Host and port."""

START_SECONDS = 300
"""How long a start may take: the first of the default pack converts its networks."""
STOP_SECONDS = 30
LAST_WORDS = 2000
"""Characters of a server's output that are told when it does not start."""


def loopback_address(url: str) -> Address:
    """Host and port of an address such as http://127.0.0.1:8000.

    Raises InvalidParameter for one that is not of this machine: whoever sends as many requests as can be
    answered does so to nobody but themselves. Names are not looked up but for localhost.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
    except ValueError as error:
        raise InvalidParameter(f"--url {url} is no address: {error}") from error
    if parts.scheme != "http" or parts.path not in ("", "/") or parts.query:
        raise InvalidParameter(f"--url is {url}; it takes an address such as http://127.0.0.1:8000")
    if host != "localhost" and not _is_loopback(host):
        raise InvalidParameter(
            f"--url names {host}, which is not this machine: the measurement sends as many requests as are "
            "answered, so it takes loopback addresses alone (127.0.0.1, [::1], localhost)"
        )
    return host, port


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class OwnServer:
    """A service in a process of its own."""

    address: Address
    pid: int


@contextlib.contextmanager
def own_server(settings: Settings, folder: Path) -> Iterator[OwnServer]:
    """`facerec serve` in a process of its own, on a free port, over `folder`/data; stopped in the end.

    Raises FacerecError with what it printed when it does not start.
    """
    output = folder / "output.txt"
    environment = {
        **os.environ,
        "FACEREC_DATA_DIR": str(folder / "data"),
        "FACEREC_PACKS_DIR": str(settings.packs_folder.resolve()),
        "MODEL_PATH": settings.model_path,
    }
    command = [sys.executable, "-c", "from facerec.cli import main; main()"]
    with output.open("wb") as stream:
        process = subprocess.Popen(  # noqa: S603 - our own program, with arguments of our own
            [*command, "serve", "--host", "127.0.0.1", "--port", "0"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        yield OwnServer(_when_listening(process, output), process.pid)
    finally:
        _stop(process)


def _when_listening(process: subprocess.Popen[bytes], output: Path) -> Address:
    """Wait for the line in which the server says where it listens."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        text = output.read_text(errors="replace")
        greeting = re.search(r"listens on http://([\d.]+):(\d+) ", text)
        if greeting:
            return greeting[1], int(greeting[2])
        if ended:
            raise FacerecError(f"the service does not start:\n{text[-LAST_WORDS:]}")
        time.sleep(0.05)
    raise FacerecError(f"the service does not start within {START_SECONDS} seconds:\n{text[-LAST_WORDS:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
