"""The vector stores that the contract suite runs over. One more store is one more function here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from facerec.config import read_settings
from facerec.db import Database
from facerec.metastore import open_at, open_metastore
from facerec.metastore.changes import DatabaseFeed
from facerec.vectors import index, pgvector, pgvector_rows
from facerec.vectors.base import VectorStore
from facerec.vectors.embedded import EmbeddedStore
from facerec.vectors.pgvector import PgvectorStore
from pinecone_double import PineconeDouble
from remote_stores import pinecone_target, qdrant_target, remote_store

OpenOver = Callable[[Database, Path], VectorStore]
"""Opens a store over a database; the folder is for files of the store, the same when it is opened again."""

OpenDatabase = Callable[[Path], Database]
"""Opens the database of a test, always the same one; the folder is for its file, if it has one."""

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


def _pgvector(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> OpenOver:
    return lambda database, _folder: PgvectorStore(database)


def _pgvector_waiting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> OpenOver:
    # Searches move hardly anything into the table: they look at what waits, too.
    monkeypatch.setattr(pgvector, "MOST_WAITING", 150)
    monkeypatch.setattr(pgvector_rows, "STEP", 200)
    return _pgvector(request, monkeypatch)


def _qdrant_local(_request: pytest.FixtureRequest, _monkeypatch: pytest.MonkeyPatch) -> OpenOver:
    return lambda database, _: remote_store(database, qdrant_target(database, path=":memory:"))


def _qdrant_server(_request: pytest.FixtureRequest, _monkeypatch: pytest.MonkeyPatch) -> OpenOver:
    url = os.environ.get("QDRANT_URL")
    if url is None:
        pytest.skip("QDRANT_URL names no Qdrant server")
    return lambda database, _: remote_store(database, qdrant_target(database, url=url))


def _pinecone_double(request: pytest.FixtureRequest, _monkeypatch: pytest.MonkeyPatch) -> OpenOver:
    # Reads are behind writes for a twentieth of a second.
    double = PineconeDouble(delay=0.05)
    request.addfinalizer(double.stop)
    return lambda database, _: remote_store(database, pinecone_target(database, double.url))


def _pinecone_service(_request: pytest.FixtureRequest, _monkeypatch: pytest.MonkeyPatch) -> OpenOver:
    key = os.environ.get("PINECONE_API_KEY")
    if key is None:
        pytest.skip("PINECONE_API_KEY is not set")
    return lambda database, _: remote_store(database, pinecone_target(database, None, key))


BACKENDS: Mapping[str, Backend] = {
    "embedded": _embedded,
    "embedded in many segments": _embedded_in_segments,
    "pgvector": _pgvector,
    "pgvector in small steps": _pgvector_waiting,
    "qdrant in local mode": _qdrant_local,
    "qdrant": _qdrant_server,
    "pinecone's double": _pinecone_double,
    "pinecone": _pinecone_service,
}

_ON_POSTGRESQL = ("pgvector", "pgvector in small steps")


def database_of(backend: str, request: pytest.FixtureRequest) -> OpenDatabase:
    """What opens the database that a store of BACKENDS is over: a SQLite file, or PostgreSQL."""
    if backend not in _ON_POSTGRESQL:
        return open_at
    url = str(request.getfixturevalue("postgres_url"))
    return lambda folder: open_metastore(read_settings(database_url=url, data_dir=folder))
