"""`facerec index-status`, `reindex` and `verify`, over the embedded index and over Pinecone's double."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from facerec.cli.commands import app
from facerec.domain import BoundingBox, EmbeddingContract, NewFace
from facerec.metastore import collections, faces, open_at
from facerec.vectors.quantization import quantize_batch
from pinecone_double import PineconeDouble


@pytest.fixture(params=["embedded", "pinecone"])
def double(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PineconeDouble | None]:
    """Twelve faces in the collection `album`; the store's server, where there is one."""
    monkeypatch.setenv("FACEREC_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("VECTOR_STORE", request.param)
    fill(tmp_path)
    if request.param == "embedded":
        yield None
        return
    double = PineconeDouble()
    monkeypatch.setenv("PINECONE_API_KEY", "the key")
    monkeypatch.setenv("PINECONE_CONTROLLER_HOST", double.url)
    yield double
    double.stop()


def fill(folder: Path) -> None:
    database = open_at(folder)
    contract = EmbeddingContract(id="c", pack="p", model_version="1.0", dimension=128)
    drawn = np.random.default_rng(0).standard_normal((12, 128))
    unit = np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), dtype=np.float32)
    box = BoundingBox(left=0.1, top=0.1, width=0.2, height=0.2)
    new = [
        NewFace(
            face_id=f"00000000-0000-0000-0000-{place:012}",
            image_id="00000000-0000-0000-0000-000000000000",
            external_image_id=None,
            box=box,
            confidence=99.0,
            embedding=embedding,
        )
        for place, embedding in enumerate(quantize_batch(unit))
    ]
    with database.write() as connection:
        collection = collections.insert(connection, name="album", contract=contract, created_at=0.0)
        faces.insert(connection, collection, new)
    database.close()


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    return result.stdout


def test_an_index_is_rebuilt_shown_and_compared(double: PineconeDouble | None) -> None:
    assert "album: 12 faces and 0 users indexed." in run("reindex", "album")
    (faces_row, _) = json.loads(run("index-status", "--json"))["Indexes"]
    assert faces_row["CollectionId"] == "album"
    if double is not None:  # the embedded index is this process's, and another one has its own
        assert (faces_row["Vectors"], faces_row["Behind"]) == (12, 0)
        assert double.vectors() == 12
    assert "album: as the database." in run("verify")


def test_a_difference_is_shown_and_the_exit_code_tells(double: PineconeDouble | None) -> None:
    if double is None:
        pytest.skip("the embedded index is read from the database itself")
    run("reindex")
    for space in double.spaces.values():
        space.records.pop("3", None)
        space.records["99"] = {"id": "99", "values": np.ones(128, np.float32)}
    (found,) = json.loads(run("verify", "album", "--json", code=1))
    assert found["Differences"] == [
        "face row 3: missing from the index",
        "face row 99: in the index but not in the database",
    ]
    run("reindex")
    run("verify")


def test_a_collection_that_is_not_there_is_named(double: PineconeDouble | None) -> None:
    for command in ("reindex", "verify"):
        result = CliRunner().invoke(app, [command, "nobody"])
        assert "nobody" in str(result.exception)
