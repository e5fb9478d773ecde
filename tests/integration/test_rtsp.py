"""`facerec watch` and a real RTSP server: a camera that shows a concert, is switched off, and comes back."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import av
import pytest
from commands import environment, facerec
from PIL import Image
from serving import FACEREC, wait_until

from rtsp_server import missing, rtsp_server

pytestmark = pytest.mark.slow

SINGER_FRAME = 90
"""A frame in which the singer looks into the camera."""


@pytest.fixture(scope="module", autouse=True)
def _can_serve() -> None:
    if (why := missing()) is not None:
        pytest.skip(why)


@pytest.fixture(scope="module")
def clip(shared: Path) -> Path:
    return shared / "data" / "video" / "short_hamilton_clip.mp4"


@pytest.fixture
def data(tmp_path: Path, clip: Path, scrfd_pack: Path) -> Path:
    """A data folder with the people of one frame."""
    (tmp_path / "photos").mkdir()
    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number == SINGER_FRAME:
                Image.fromarray(frame.to_ndarray(format="rgb24")).save(tmp_path / "photos" / "singer.png")
                break
    folder = tmp_path / "data"
    pack = {"MODEL_PATH": str(scrfd_pack)}
    done = facerec(folder, "index", tmp_path / "photos", "--collection", "stars", "--create", settings=pack)
    assert done.code == 0, done.err
    return folder


def test_a_camera_that_comes_back_is_watched_again(data: Path, clip: Path, scrfd_pack: Path) -> None:
    out, err = data.parent / "out", data.parent / "err"

    def records() -> list[dict[str, Any]]:
        return [json.loads(line) for line in out.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def told() -> int:
        return len(err.read_text().splitlines())

    # Tests that run in the background ignore the signal, and so would the command.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with rtsp_server(clip) as port:
        arguments = ["watch", f"rtsp://127.0.0.1:{port}/film", "--collection", "stars", "--matches-only"]
        with out.open("wb") as events, err.open("wb") as notes:
            watching = subprocess.Popen(
                [str(FACEREC), *arguments, "--timeout", "5"],
                env=environment(data, {"MODEL_PATH": str(scrfd_pack)}) | {"PYTHONUNBUFFERED": "1"},
                cwd=data.parent,
                stdout=events,
                stderr=notes,
            )
        try:
            wait_until(lambda: len(records()) >= 2, seconds=120)
        except AssertionError:
            watching.kill()
            raise AssertionError(err.read_text()) from None
    try:
        before = told()
        wait_until(lambda: told() > before, seconds=60)  # it is gone, and that is told
        seen = len(records())
        with rtsp_server(clip, port):
            wait_until(lambda: len(records()) > seen, seconds=120)
            watching.send_signal(signal.SIGINT)
            assert watching.wait(60) == 130
    finally:
        watching.kill()
        watching.wait()
    for record in records():
        matches = [match for face in record["FaceSearchResponse"] for match in face["MatchedFaces"]]
        assert {match["Face"]["ExternalImageId"] for match in matches} == {"singer.png"}
    assert "Traceback" not in err.read_text()
