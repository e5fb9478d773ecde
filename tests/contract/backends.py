"""The vector stores that the contract suite runs over. One more store is one more function here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from facerec.db import Database
from facerec.metastore.changes import DatabaseFeed
from facerec.vectors import index
from facerec.vectors.base import VectorStore
from facerec.vectors.embedded import EmbeddedStore

OpenOver = Callable[[Database, Path], VectorStore]
"""Opens a store over a database; the folder is for files of the store, the same when it is opened again."""

Backend = Callable[[pytest.FixtureRequest, pytest.MonkeyPatch], OpenOver]
"""Prepares a store for one test, with the fixtures it needs (`request.getfixturevalue`), or skips it."""


def _embedded(_request: pytest.FixtureRequest, _monkeypatch: pytest.MonkeyPatch) -> OpenOver:
    # Snapshots from 50 vectors on, so that small tests pass through them too.
    return lambda database, folder: EmbeddedStore(
        folder / "vectors", DatabaseFeed(database), threads=2, snapshot_from=50
    )


def _embedded_in_segments(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> OpenOver:
    monkeypatch.setattr(index, "SEGMENT_ROWS", 100)
    return _embedded(request, monkeypatch)


BACKENDS: Mapping[str, Backend] = {
    "embedded": _embedded,
    "embedded in many segments": _embedded_in_segments,
}
