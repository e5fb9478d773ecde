"""A real server for the tests: `facerec serve` in a process of its own, on a free port."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_rekognition import RekognitionClient

START_SECONDS = 300
"""The first start of the default pack converts its models."""

FACEREC = Path(sys.executable).with_name("facerec")

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}


class Server:
    """A running `facerec serve`."""

    def __init__(
        self, data: Path, *, model: str | Path = "fake", settings: Mapping[str, str] | None = None
    ) -> None:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FACEREC_"))
        }
        environment |= {
            "FACEREC_DATA_DIR": str(data),
            "MODEL_PATH": str(model),
            "PYTHONUNBUFFERED": "1",
            **(settings or {}),
        }
        self.data = data
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [str(FACEREC), "serve", "--host", "127.0.0.1", "--port", "0"],
            cwd=data.parent,  # no .env file of the checkout
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._ready.wait(START_SECONDS)
        match = re.search(r"listens on (https?://\S+):(\d+)", self.output)
        if match is None:
            self.kill()
            raise RuntimeError("the server did not start:\n" + self.output)
        self.url = f"{match[1]}:{match[2]}"
        self.port = int(match[2])

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if "AWS_ENDPOINT_URL_REKOGNITION" in line:
                self._ready.set()
        self._ready.set()

    @property
    def output(self) -> str:
        """Everything printed and logged so far."""
        return "".join(self.lines)

    def stop(self) -> int:
        """Ask it to stop (SIGTERM); its exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self._reader.join()
        self._close()
        return code

    def kill(self) -> None:
        """End it between two instructions, as a power cut would (SIGKILL)."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        self._close()

    def _close(self) -> None:
        if self.process.stdout is not None:
            self.process.stdout.close()

    def client(self, access_key: str = "any", secret: str = "any") -> RekognitionClient:
        """boto3's client for it, which tries once: what happens on the first attempt is what is tested."""
        return boto3.client(
            "rekognition",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=access_key,
            aws_secret_access_key=secret,
            config=Config(retries={"total_max_attempts": 1}, read_timeout=60),
        )

    def create_key(self) -> dict[str, str]:
        """A key made by the command line beside the running server, as the environment of a client."""
        lines = self._run("keys", "create").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def revoke_key(self, access_key_id: str) -> None:
        """Revoke a key by the command line beside the running server."""
        self._run("keys", "revoke", access_key_id)

    def _run(self, *arguments: str) -> str:
        """What a command beside the running server prints."""
        done = subprocess.run(
            [str(FACEREC), *arguments],
            env={**os.environ, "FACEREC_DATA_DIR": str(self.data)},
            cwd=self.data.parent,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout


@contextlib.contextmanager
def serving(
    data: Path, *, model: str | Path = "fake", settings: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Start a server; it is stopped, if it still runs, at the end."""
    server = Server(data, model=model, settings=settings)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()


def wait_until(condition: object, *, seconds: float = 60, pause: float = 0.02) -> None:
    """Ask `condition()` until it is true; fails after a time that no healthy run needs.

    pause: seconds between two questions; where the answer is long in coming, and asking is no small thing,
    more of them leave the processor to those who are waited for.
    """
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(pause)
