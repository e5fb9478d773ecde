"""The front page, typed in as it stands, with what a user gets who sets nothing."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import newcomer
from serving import Server, serving

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "http://127.0.0.1:8000"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service with the default pack."""
    with serving(tmp_path_factory.mktemp("readme") / "data", model="dlib") as started:
        yield started


def blocks(language: str) -> list[str]:
    """The blocks of the section on the start."""
    start = (ROOT / "README.md").read_text("utf-8").split("\n## Start\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", start, re.M | re.S)


def typed(program: list[str], server: Server) -> str:
    """What a program prints; the address is another one, and the environment has nothing of AWS."""
    done = subprocess.run(
        [word.replace(ADDRESS, server.url) for word in program],
        cwd=ROOT,
        env=newcomer(data=server.data),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{program}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_first_minute_goes_as_the_front_page_says(server: Server) -> None:
    """One test, for what is typed first is needed by what comes after it."""
    run, curl, aws, keys = blocks("sh")
    assert run == "make run\n"  # the service that runs already
    assert f"{server.url}/console" in server.output

    register, verify = curl.strip().splitlines()
    assert '"accepted":true' in typed(["bash", "-euc", register], server)
    known = json.loads(typed(["bash", "-euc", verify], server))
    assert (known["match"], known["person_id"]) == (True, "eileen")

    (program,) = blocks("python")
    ((name, similarity),) = ast.literal_eval(typed([sys.executable, "-c", program], server))
    assert name == "eileen"
    assert similarity >= 80

    found = json.loads(typed(["bash", "-euc", aws], server))
    assert found["FaceMatches"][0]["Face"]["ExternalImageId"] == "eileen"

    made = typed(["bash", "-euc", keys], server)
    assert re.search(r"AWS_ACCESS_KEY_ID=\S+\nAWS_SECRET_ACCESS_KEY=\S+", made)
    header = re.search(r"X-API-Key: \S+", made)
    assert header is not None
    assert json.loads(typed(["bash", "-euc", verify], server))["code"] == "MissingCredentials"
    signed = verify.replace("curl -s", f"curl -s -H '{header[0]}'")
    assert json.loads(typed(["bash", "-euc", signed], server))["person_id"] == "eileen"
