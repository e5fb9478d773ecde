"""Keeps on disk what is made of networks for this machine, so that only the first process makes it.

To open a large network takes seconds: it is read, changed, quantised, compiled in two precisions, and both
are tried. What comes of it follows from the weights, this package, the runtime and the processor. So it lies
under a name that is the digest of all of these, and is never out of date: what changes has another name.
Nothing of what is kept is needed: what is missing or damaged is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from facerec.engine.runtime.processor import processor_instructions
from facerec.engine.whole_file import put_file
from facerec.errors import PackError

KEPT_SECONDS = 30 * 86_400
"""How long a form stays that nobody reads: those of older versions, and of networks of old."""
_HALF_WRITTEN_SECONDS = 3600
_DIGEST_LETTERS = 64
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Form:
    """What was made of a network."""

    about: Mapping[str, Any]
    """What JSON can tell of it."""
    content: bytes


@dataclass(frozen=True, slots=True)
class CompiledForms:
    """The forms of one network that lie in a folder. Safe to use from many threads and processes."""

    folder: Path
    digest: str
    """SHA-256 of the network's file, lower case hex."""
    reads: bool = True
    """False: what lies there is not read, but written anew."""

    @classmethod
    def of(cls, file: Path, folder: Path | None) -> CompiledForms | None:
        """The forms of a network's file in a folder; None without a folder. Raises PackError."""
        if folder is None:
            return None
        try:
            return cls(folder, hashlib.sha256(file.read_bytes()).hexdigest())
        except OSError as error:
            raise PackError(f"{file} can not be read: {error.strerror or error}") from error

    def anew(self) -> CompiledForms:
        """The same forms, none of which is read."""
        return replace(self, reads=False)

    def read(self, **made_for: object) -> Form | None:
        """The form that was made for these circumstances; None where there is none that is whole."""
        if not self.reads:
            return None
        file = self._file(made_for)
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("%s can not be read, and is made anew: %s", file, error.strerror or error)
            return None
        rest = memoryview(content)[_DIGEST_LETTERS + 1 :]
        if content[: _DIGEST_LETTERS + 1] != hashlib.sha256(rest).hexdigest().encode() + b"\n":
            _log.warning("%s is damaged, and is made anew", file)
            return None
        with contextlib.suppress(OSError):
            os.utime(file)  # so that it is known to be in use
        end = content.index(b"\n", _DIGEST_LETTERS + 1)
        return Form(json.loads(content[_DIGEST_LETTERS + 1 : end]), content[end + 1 :])

    def write(self, form: Form, **made_for: object) -> None:
        """Keep what was made for these circumstances, where the folder can be written."""
        rest = json.dumps(form.about).encode() + b"\n" + form.content
        file = self._file(made_for)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_unused(self.folder)
            put_file(file, hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest)
        except OSError as error:
            _log.info("compiled networks are not kept in %s: %s", self.folder, error.strerror or error)

    def _file(self, made_for: Mapping[str, object]) -> Path:
        """Where a form lies."""
        circumstances = {
            **made_for,
            "network": self.digest,
            "package": _package_digest(),
            "processor": sorted(processor_instructions()),
        }
        text = json.dumps(circumstances, sort_keys=True, default=repr)
        return self.folder / hashlib.sha256(text.encode()).hexdigest()


@cache
def _package_digest() -> str:
    """SHA-256 of the code that makes the forms."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _remove_unused(folder: Path) -> None:
    """Remove the forms that nobody has read for long, and what processes that were killed left."""
    now = time.time()
    for file in folder.iterdir():
        longest = _HALF_WRITTEN_SECONDS if file.name.startswith(".") else KEPT_SECONDS
        with contextlib.suppress(FileNotFoundError):
            if now - file.stat().st_mtime > longest:
                file.unlink()
