"""The Terraform of `deploy/terraform` parses, names only what is there, and grants no more than is used."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import hcl2
import pytest
from pydantic import AliasChoices

from facerec.config import Settings

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "terraform"
FILES = sorted(FOLDER.glob("*.tf"))
TEXT = re.sub(r"(?m)(?:^|\s)#.*$", "", "\n".join(path.read_text("utf-8") for path in FILES))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_parses(path: Path) -> None:
    with path.open(encoding="utf-8") as file:
        assert hcl2.load(file)


def test_files_are_formatted() -> None:
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed")
    done = subprocess.run(
        ["terraform", "fmt", "-check", "-diff", str(FOLDER)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_it_is_told_when_nobody_answers() -> None:
    watched = set(re.findall(r'metric_name\s*=\s*"(\w+)"', (FOLDER / "alarms.tf").read_text("utf-8")))
    assert {"HealthyHostCount", "HTTPCode_Target_5XX_Count", "FreeStorageSpace"} <= watched


def test_every_reference_is_to_something_that_is_there() -> None:
    resources = set(re.findall(r'^resource "(\w+)" "(\w+)"', TEXT, re.M))
    data = set(re.findall(r'^data "(\w+)" "(\w+)"', TEXT, re.M))
    variables = set(re.findall(r'^variable "(\w+)"', TEXT, re.M))
    block = re.search(r"^locals \{\n(.*?)^\}", TEXT, re.M | re.S)
    assert block is not None
    values = set(re.findall(r"^  (\w+)\s*=", block[1], re.M))
    read_data = set(re.findall(r"\bdata\.(\w+)\.(\w+)", TEXT))
    without_data = re.sub(r"\bdata\.\w+\.\w+", "", TEXT)
    read = set(re.findall(r"\b((?:aws|random)_\w+)\.(\w+)", without_data))
    assert read
    assert read <= resources, read - resources
    assert read_data
    assert read_data <= data, read_data - data
    assert set(re.findall(r"\bvar\.(\w+)", TEXT)) == variables  # and none is there for nothing
    assert set(re.findall(r"\blocal\.(\w+)", TEXT)) == values


def test_no_right_is_a_wildcard() -> None:
    granted = [
        action
        for block in re.findall(r"\bactions\s*=\s*\[(.*?)\]", TEXT, re.S)
        for action in re.findall(r'"([^"]+)"', block)
    ]
    assert {"s3:GetObject", "sqs:ReceiveMessage", "secretsmanager:GetSecretValue"} <= set(granted)
    assert not [action for action in granted if "*" in action]
    assert not re.findall(r'resources\s*=\s*\["\*"\]', TEXT)


def test_the_environment_is_made_of_settings() -> None:
    known: set[str] = set()
    for field in Settings.model_fields.values():
        alias = field.validation_alias
        known |= {str(one) for one in alias.choices} if isinstance(alias, AliasChoices) else {str(alias)}
    named = set(re.findall(r"^    ([A-Z][A-Z0-9_]+)\s*=", TEXT, re.M))
    named |= set(re.findall(r"\{ ([A-Z][A-Z0-9_]+) =", TEXT))
    assert {"API_KEY", "SQS_QUEUE_NAME", "FACEREC_SPOT_NOTICE"} <= named
    assert named <= known, named - known
