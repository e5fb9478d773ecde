"""Run commands in this process, as the `facerec` script does."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from facerec.cli import main
from facerec.engine.fake import draw


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Outcome]


@pytest.fixture(name="facerec")
def command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command with the fake engine and a data folder of the test's own."""
    monkeypatch.setenv("FACEREC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("MODEL_PATH", "fake")
    monkeypatch.setenv("FACEREC_THREADS", "2")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["facerec", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        code = ended.value.code
        return Outcome(code if isinstance(code, int) else int(bool(code)), captured.out, captured.err)

    return run


@pytest.fixture(name="pictures")
def three_pictures(tmp_path: Path) -> Path:
    """Three faces in three pictures, one of which has none."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(draw("ann"))
    (folder / "b.png").write_bytes(draw("ben", "cid"))
    (folder / "c.png").write_bytes(draw())
    return folder
