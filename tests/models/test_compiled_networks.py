"""Real packs whose networks are kept as they were compiled: the next process makes the same embeddings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from facerec.config import Settings, read_settings
from facerec.engine.packs.loading import open_engine
from facerec.engine.runtime import session

PROGRAM = """
import json, sys
from pathlib import Path
from facerec.config import read_settings
from facerec.engine.packs.loading import open_engine
engine = open_engine(read_settings())
picture = engine.decode(Path(sys.argv[1]).read_bytes())
print(json.dumps(engine.embed(picture, engine.detect(picture)).tolist()))
"""


@pytest.fixture(params=["small", "liveness", "dlib"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    pack = request.param
    if pack != "dlib":
        pack = str(request.getfixturevalue("scrfd_pack" if pack == "small" else "liveness_pack"))
    return read_settings(model_path=pack, data_dir=tmp_path, compiled_dir=None)


def portrait(shared: Path) -> Path:
    return next(iter(sorted((shared / "data" / "lfw" / "images").glob("*.jpg"))))


def answer(settings: Settings, file: Path) -> list[Any]:
    engine = open_engine(settings)
    try:
        picture = engine.decode(file.read_bytes())
        return list(engine.embed(picture, engine.detect(picture)).tolist())
    finally:
        engine.close()


def test_a_pack_is_opened_from_what_is_kept_and_answers_the_same(
    settings: Settings, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = answer(settings, portrait(shared))
    assert first

    def refuse(*_: object) -> object:
        raise AssertionError("made again")

    monkeypatch.setattr(session, "_parse", refuse)
    monkeypatch.setattr(session._OpenVinoSession, "_compile", refuse)
    assert answer(settings, portrait(shared)) == first


def test_every_damaged_file_is_made_anew(settings: Settings, shared: Path) -> None:
    first = answer(settings, portrait(shared))
    files = sorted(settings.compiled_folder.iterdir())
    whole = [file.read_bytes() for file in files]
    for number, file in enumerate(files):
        file.write_bytes(whole[number][: len(whole[number]) * number // len(files)])
    assert answer(settings, portrait(shared)) == first
    assert sorted(settings.compiled_folder.iterdir()) == files


def test_processes_that_start_together_do_not_disturb_each_other(
    scrfd_pack: Path, shared: Path, tmp_path: Path
) -> None:
    def start(number: int) -> list[Any]:
        environment = {
            **os.environ,
            "MODEL_PATH": str(scrfd_pack),
            "FACEREC_COMPILED_DIR": str(tmp_path / "compiled"),
            "FACEREC_DATA_DIR": str(tmp_path / f"data-{number}"),
        }
        command = [sys.executable, "-c", PROGRAM, str(portrait(shared))]
        ran = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=120)
        return list(json.loads(ran.stdout))

    with ThreadPoolExecutor(4) as pool:
        answers = [*pool.map(start, range(4)), start(4)]
    assert answers[0]
    assert all(each == answers[0] for each in answers)
    assert not [file for file in (tmp_path / "compiled").iterdir() if file.name.startswith(".")]
