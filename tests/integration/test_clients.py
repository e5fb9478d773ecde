"""Clients written for Amazon Rekognition, unmodified: the programs of `examples/` as they stand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from serving import CREDENTIALS, Server, serving

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
KNOWN, SAME_PERSON, SOMEBODY_ELSE = (
    "Amber_Tamblyn_0001.jpg",
    "Amber_Tamblyn_0002.jpg",
    "Abel_Pacheco_0001.jpg",
)

pytest_plugins = ["server_fixtures"]
pytestmark = pytest.mark.slow


def photo(shared: Path, name: str) -> str:
    """Path of a photo of Labeled Faces in the Wild."""
    return str(shared / "data" / "lfw" / "images" / name)


def run_example(
    command: list[str],
    server: Server,
    *,
    environment: Mapping[str, str] = CREDENTIALS,
    folder: Path = EXAMPLES,
) -> str:
    """What a program prints, run as a user would run it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        command,
        cwd=folder,
        env={
            **inherited,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "AWS_ENDPOINT_URL_REKOGNITION": server.url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def node() -> str:
    """Node.js, with the example's dependencies installed beside the example."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        pytest.skip("Node.js and npm, which the JavaScript example needs, are not installed")
    folder = EXAMPLES / "javascript"
    if not (folder / "node_modules" / "@aws-sdk" / "client-rekognition").is_dir():
        command = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=folder, check=True, timeout=300, capture_output=True)
    return program


def command_of(client: str, request: pytest.FixtureRequest) -> list[str]:
    if client == "boto3":
        return [sys.executable, str(EXAMPLES / "boto3_quickstart.py")]
    if client == "AWS CLI":
        return ["sh", str(EXAMPLES / "aws_cli.sh")]
    return [request.getfixturevalue("node"), str(EXAMPLES / "javascript" / "index.mjs")]


CLIENTS = ["boto3", "AWS CLI", "JavaScript"]


@pytest.mark.parametrize("client", CLIENTS)
def test_the_same_person_is_found_and_another_is_not(
    client: str, shared: Path, real_server: Server, request: pytest.FixtureRequest
) -> None:
    command = command_of(client, request)
    printed = run_example([*command, photo(shared, KNOWN), photo(shared, SAME_PERSON)], real_server)
    assert re.search(r"indexed\s+Amber_Tamblyn_0001\S*\s+(as\s+)?[0-9a-f-]{36}", printed), printed
    found = re.search(r"found\s+Amber_Tamblyn_0001\S*\s+(with similarity\s+)?([0-9.]+)", printed)
    assert found is not None, printed
    assert 80 <= float(found[2]) <= 100

    printed = run_example([*command, photo(shared, KNOWN), photo(shared, SOMEBODY_ELSE)], real_server)
    assert "indexed" in printed  # the same face once more: still one face
    assert not re.search(r"found\s+Amber", printed), printed


@pytest.mark.parametrize("client", CLIENTS)
def test_signed_with_a_key_of_the_service(
    client: str, shared: Path, scrfd_pack: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    command = [*command_of(client, request), photo(shared, KNOWN), photo(shared, SAME_PERSON)]
    with serving(tmp_path / "data", model=scrfd_pack) as server:
        created = server.create_key()
        assert "found" in run_example(command, server, environment=created)
        wrong = {**created, "AWS_SECRET_ACCESS_KEY": "x" * 40}
        with pytest.raises(AssertionError, match=r"InvalidSignature|does not match the signature"):
            run_example(command, server, environment=wrong)
        with pytest.raises(
            AssertionError, match=r"UnrecognizedClient|security token included in the request"
        ):
            run_example(command, server, environment=CREDENTIALS)
