"""What the guides show exists: commands, options, make targets, settings; as a site their links hold."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from pydantic import AliasChoices

from facerec.cli.commands import app
from facerec.config import Settings

ROOT = Path(__file__).resolve().parents[2]
GUIDES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
SHELLS = ("", "sh", "bash", "console")
OUR_SETTING = re.compile(r"\b(?:FACEREC|POSTGRES|QDRANT|PINECONE|SQS)_[A-Z0-9_]*[A-Z0-9]\b")
NOT_OF_THE_SERVICE = {
    "FACEREC_SOAK_SECONDS",  # of the tests, as the next
    "FACEREC_TEST_KILLS",
}


def blocks(guide: Path) -> Iterator[str]:
    """The blocks of a guide that show what to type."""
    for language, text in re.findall(r"^```(\w*)\n(.*?)^```$", guide.read_text("utf-8"), re.M | re.S):
        if language in SHELLS:
            yield text.replace("\\\n", " ")


def commands(text: str, program: str) -> Iterator[list[str]]:
    """The calls of a program in a block, as words: after settings, `$ `, pipes and `&&` too."""
    for line in text.splitlines():
        try:
            words = shlex.split(line.removeprefix("$ ").replace("[", " ").replace("]", " "), comments=True)
        except ValueError:
            continue  # prose in a block without a language
        while words:
            end = next((at for at, word in enumerate(words) if word in ("|", "&&", ";", "&")), len(words))
            call, words = words[:end], words[end + 1 :]
            while call and re.fullmatch(r"[A-Z][A-Z0-9_]*=.*", call[0], re.S):
                call = call[1:]
            if call and Path(call[0]).name == program:
                yield call[1:]


def shown(program: str) -> list[tuple[str, list[str]]]:
    return [
        (guide.name, call) for guide in GUIDES for text in blocks(guide) for call in commands(text, program)
    ]


def options_of(command: Any) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {
        "--help"
    }


def complaint(words: list[str]) -> str | None:
    """What is wrong with a call of facerec; None where its commands and options exist."""
    command: Any = typer.main.get_command(app)  # click's, or typer's own of the same form
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("-") and word != "-":
            if word.partition("=")[0] not in options_of(command):
                return f"there is no option {word}"
            if hasattr(command, "get_command") and word not in ("--help", "--version", "--traceback"):
                rest = rest[1:]  # its value
        elif hasattr(command, "get_command"):
            found = command.get_command(None, word)  # imported when it is asked for
            if found is None:
                return f"there is no command {word}"
            command = found
    return None


def test_each_facerec_command_of_the_guides_exists() -> None:
    calls = shown("facerec")
    assert len(calls) > 100
    wrong = [(name, " ".join(words), complaint(words)) for name, words in calls if complaint(words)]
    assert not wrong


def test_a_wrong_command_is_noticed() -> None:
    assert complaint(["--data-dir", "x", "keys", "create", "--api"]) is None
    assert complaint(["keys", "creat"]) == "there is no command creat"
    assert complaint(["keys", "create", "--apy"]) == "there is no option --apy"
    assert list(commands("$ A=b facerec serve &\nmake x && facerec keys list  # all", "facerec")) == [
        ["serve"],
        ["keys", "list"],
    ]


def test_each_make_target_of_the_guides_exists() -> None:
    rules = (ROOT / "Makefile").read_text("utf-8")
    targets = {name for line in re.findall(r"^([a-z][a-z -]*):(?!=)", rules, re.M) for name in line.split()}
    targets |= {name for line in re.findall(r"^\.PHONY: (.*)$", rules, re.M) for name in line.split()}
    named = {
        word for _, words in shown("make") for word in words if "=" not in word and not word.startswith("-")
    }
    named |= {
        name for guide in GUIDES for name in re.findall(r"`make ([a-z-]+)[ `]", guide.read_text("utf-8"))
    }
    assert named
    assert named <= targets, named - targets


def test_each_setting_of_the_guides_exists() -> None:
    known: set[str] = set()
    for field in Settings.model_fields.values():
        alias = field.validation_alias
        known |= set(alias.choices) if isinstance(alias, AliasChoices) else {alias}  # type: ignore[arg-type]
    for guide in GUIDES:
        named = set(OUR_SETTING.findall(guide.read_text("utf-8"))) - NOT_OF_THE_SERVICE
        unknown = {
            name for name in named if name not in known and not any(other.startswith(name) for other in known)
        }
        assert not unknown, f"{guide.name} names settings that are none"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built so that a warning (a broken link) is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_has_a_page_for_each_guide(site: Path) -> None:
    pages = {path.relative_to(site).with_suffix(".md").as_posix() for path in site.rglob("*.html")}
    guides = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert guides <= pages
    assert {"index.md", "architecture.md", "changelog.md", "benchmarks.md"} <= pages


def test_the_site_names_each_guide_in_its_navigation(site: Path) -> None:
    index = (site / "index.html").read_text("utf-8")
    for guide in (ROOT / "docs").rglob("*.md"):
        page = guide.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        assert f'href="{page}"' in index, page


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    loaded = re.compile(
        r'<(?:script|img|iframe)[^>]+src="?https?:|<link[^>]+rel="?(?:stylesheet|preconnect)"?[^>]+href="?https?:'
    )
    for page in site.rglob("*.html"):
        assert not loaded.search(page.read_text("utf-8")), page
