"""S3 and SQS on this machine: moto's server."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def aws_server() -> Iterator[str]:
    """The address of a server, which ends with the block."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
            server = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            while b"Running on" not in log.read_bytes():
                time.sleep(0.1)
            yield log.read_text().partition("Running on ")[2].split()[0]
        finally:
            server.kill()
            server.wait()
