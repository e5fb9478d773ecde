"""A real Redis server for the tests: Debian's redis-server, on a loopback port."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

START_SECONDS = 30


class RedisServer:
    """A server that keeps what it acknowledged (an append-only file), started and killed as a test likes."""

    def __init__(self) -> None:
        """Choose a port; `start` starts it. Skips the test where there is no server to be had."""
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("redis-server (a Debian package) is not installed")
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="facerec-redis-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])

    @property
    def url(self) -> str:
        """Its address, as REDIS_URL takes it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder))
        durable = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, *options, *durable], stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_SECONDS
        with Redis(port=self.port) as client:
            while True:
                try:
                    client.ping()
                    return
                except RedisError:
                    assert time.monotonic() < deadline, (self.folder / "log").read_text()
                    time.sleep(0.02)

    def freeze(self) -> None:
        """Have it answer nothing any more, with its connections open."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        """End it, and remove its files."""
        self.kill()
        shutil.rmtree(self.folder)
