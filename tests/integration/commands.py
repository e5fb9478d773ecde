"""The `facerec` command in a process of its own, as a person or a nightly job runs it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving import FACEREC


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(data: Path, settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a command over a data folder, with the fake engine."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FACEREC_"))}
    return own | {"FACEREC_DATA_DIR": str(data), "MODEL_PATH": "fake"} | dict(settings or {})


def newcomer(*, data: Path | None = None, model: str | None = None) -> dict[str, str]:
    """The environment of somebody who types what a guide says: `facerec` is installed, nothing of AWS is set.

    data, model: of the service that is there; None: as it is by default.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FACEREC_"))}
    given = {"FACEREC_DATA_DIR": None if data is None else str(data), "MODEL_PATH": model}
    return {
        **own,
        **{name: value for name, value in given.items() if value is not None},
        "PATH": f"{FACEREC.parent}{os.pathsep}{own['PATH']}",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_PAGER": "",
    }


def facerec(
    data: Path, *arguments: object, settings: Mapping[str, str] | None = None, largest_file: int | None = None
) -> Done:
    """Run a command to its end. largest_file: bytes from which on writing a file fails, as on a full disk."""

    def limit() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    done = subprocess.run(
        [str(FACEREC), *map(str, arguments)],
        env=environment(data, settings),
        cwd=data.parent,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
        timeout=300,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def start(
    data: Path, *arguments: object, settings: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a command; the caller waits for it or kills it."""
    return subprocess.Popen(
        [str(FACEREC), *map(str, arguments)],
        env=environment(data, settings),
        cwd=data.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
