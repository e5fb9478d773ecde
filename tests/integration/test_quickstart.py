"""The quick start, typed in as it stands: its blocks, one after the other, in a folder with its pictures."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import newcomer
from serving import Server, serving

from facerec.engine.fake import draw

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "quickstart.md"
ADDRESS = "http://127.0.0.1:8000"
LEFT_OUT = ("pip install", "facerec serve")
"""Installing is what CI does, and the service is running already."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("quickstart")
    for name, face, variation in (
        ("ann1.jpg", "ann", 0),
        ("ann2.jpg", "ann", 1),
        ("party.jpg", "ann", 2),
        ("bob.jpg", "bob", 0),
    ):
        (folder / name).write_bytes(draw(face, variation=variation))
    with serving(folder / "data") as started:
        yield started


def test_each_block_does_what_it_says(server: Server) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", GUIDE.read_text("utf-8"), re.M | re.S)
    typed = [block for block in blocks if not any(left_out in block for left_out in LEFT_OUT)]
    assert len(typed) >= 4
    outputs = []
    for block in typed:
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", block.replace(ADDRESS, server.url)],
            cwd=server.data.parent,
            env=newcomer(model="fake"),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        outputs.append(done.stdout)
    everything = "\n".join(outputs)
    assert '"person_id":"ann"' in everything.replace(" ", "")
    assert '"ExternalImageId": "ann1' in everything  # the AWS CLI found what `facerec index` stored
