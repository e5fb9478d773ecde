"""The real anti-spoofing networks give the scores that are known of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from facerec.cli import main
from facerec.config import read_settings
from facerec.engine.base import Engine
from facerec.engine.packs.loading import open_engine


@pytest.fixture(scope="module")
def engine(liveness_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    # The doubtful one of the scores follows the box within a pixel, by which a detector in int8 moves it.
    settings = read_settings(
        model_path=str(liveness_pack),
        data_dir=tmp_path_factory.mktemp("data"),
        runtime="onnxruntime",
        precision="f32",
    )
    opened = open_engine(settings)
    yield opened
    opened.close()


@pytest.mark.parametrize(("name", "expected"), [("real_1", 100), ("spoof_1", 29), ("spoof_2", 0)])
def test_live_faces_and_spoofs_score_as_known(
    engine: Engine, shared: Path, name: str, expected: float
) -> None:
    picture = engine.decode((shared / "data" / "spoof" / f"{name}.jpg").read_bytes())
    scores = engine.liveness(picture, engine.detect(picture)[:1])
    assert scores == pytest.approx([expected], abs=1)


def test_a_pack_without_the_networks_says_nothing(scrfd_pack: Path, shared: Path, tmp_path: Path) -> None:
    engine = open_engine(read_settings(model_path=str(scrfd_pack), data_dir=tmp_path))
    try:
        picture = engine.decode((shared / "data" / "spoof" / "real_1.jpg").read_bytes())
        assert engine.liveness(picture, engine.detect(picture)) is None
    finally:
        engine.close()


def test_the_command_line_shows_it(
    liveness_pack: Path,
    scrfd_pack: Path,
    shared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FACEREC_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("MODEL_PATH", str(liveness_pack))

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["facerec", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main()
        captured = capsys.readouterr()
        return captured.out or captured.err

    command = ("detect", "--liveness", "--json", str(shared / "data" / "spoof" / "spoof_1.jpg"))
    (face,) = json.loads(run(*command))["FaceDetails"][:1]
    assert face["Liveness"] == pytest.approx(29, abs=15)
    monkeypatch.setenv("MODEL_PATH", str(scrfd_pack))
    assert "packs add minifasnet" in run(*command)
