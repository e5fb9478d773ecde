"""Servers that several tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Server, serving


@pytest.fixture(scope="session")
def real_server(scrfd_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with real networks."""
    with serving(tmp_path_factory.mktemp("real") / "data", model=scrfd_pack) as server:
        yield server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of one test alone, with the fake engine."""
    with serving(tmp_path / "data") as started:
        yield started
