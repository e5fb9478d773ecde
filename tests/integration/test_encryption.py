"""Embeddings sealed at rest: what lies on the disk, what clients see of it, and changing the key."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from serving import FACEREC, serving
from talking import COLLECTION, faces_of, index

from facerec.engine.fake import draw

ONE, TWO = (base64.b64encode(bytes([value]) * 32).decode() for value in (1, 2))
NAMES = ("ann", "ben", "cid")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def facerec(data: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command beside the server or without one."""
    return subprocess.run(
        [str(FACEREC), *arguments],
        env={**os.environ, "FACEREC_DATA_DIR": str(data), "MODEL_PATH": "fake", **environment},
        cwd=data.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def keys(*values: str) -> dict[str, str]:
    return {"FACEREC_EMBEDDING_KEY": ",".join(values)}


def matches(server: Any, name: str) -> list[str]:
    """External ids of the faces that a search by the picture of that name finds."""
    with closing(server.client()) as client:
        answer = client.search_faces_by_image(CollectionId=COLLECTION, Image={"Bytes": draw(name)})
    return [match["Face"]["ExternalImageId"] for match in answer["FaceMatches"]]


def stored_codes(data: Path) -> list[bytes]:
    with closing(sqlite3.connect(data / "facerec.db")) as database:
        return [codes for (codes,) in database.execute("select codes from faces order by key")]


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_no_embedding_lies_on_the_disk_and_searches_find_it(data: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "plain") as server:
        index(server, *NAMES)
    plain = stored_codes(tmp_path / "plain")
    assert all(codes in on_disk(tmp_path / "plain") for codes in plain)
    with serving(data, settings=keys(ONE)) as server:
        index(server, *NAMES)
        assert matches(server, "ben") == ["ben"]
        raw = on_disk(data)
        assert not any(codes in raw for codes in plain)
    with serving(data, settings=keys(ONE)) as server:
        assert matches(server, "cid") == ["cid"]
        assert len(faces_of(server)) == len(NAMES)
    raw = on_disk(data)
    assert not any(codes in raw for codes in plain)


def test_the_service_does_not_start_without_its_key(data: Path) -> None:
    with serving(data, settings=keys(ONE)) as server:
        index(server, "ann")
    for wrong in ({}, keys(TWO), keys("no key")):
        done = facerec(data, "serve", "--port", "0", **wrong)
        assert done.returncode == 1
        assert "EMBEDDING_KEY" in done.stderr
        assert ONE not in done.stderr
    for store in ("qdrant", "pinecone"):
        done = facerec(data, "serve", "--port", "0", **keys(ONE), VECTOR_STORE=store)
        assert done.returncode == 1
        assert "VECTOR_STORE=embedded" in " ".join(done.stderr.split())


def test_a_key_is_given_changed_and_taken_away_while_clients_go_on(data: Path, tmp_path: Path) -> None:
    with serving(data) as server:
        index(server, *NAMES)
    plain = stored_codes(data)
    with serving(data, settings=keys(ONE)) as server:
        assert matches(server, "ann") == ["ann"]
        assert json.loads(facerec(data, "encryption", "status", "--json", **keys(ONE)).stdout)["Plain"] == 3
        assert facerec(data, "encryption", "seal", **keys(ONE)).stdout == "3 embeddings were sealed anew.\n"
        index(server, "dan")
        assert matches(server, "ben") == ["ben"]
    assert not any(codes in on_disk(data) for codes in plain)
    with serving(data, settings=keys(TWO, ONE)) as server:
        done = facerec(data, "encryption", "seal", "--json", **keys(TWO, ONE))
        assert json.loads(done.stdout) == {"Sealed": 4, "Erased": True}
        assert matches(server, "dan") == ["dan"]
    with serving(data, settings=keys(TWO)) as server:
        assert [matches(server, name) for name in NAMES] == [[name] for name in NAMES]
    file = tmp_path / "album.export"
    assert facerec(data, "export", str(file), **keys(TWO)).returncode == 0
    other = tmp_path / "other"
    assert facerec(other, "import", str(file), **keys(ONE)).returncode == 0
    with serving(other, settings=keys(ONE)) as server:
        assert matches(server, "ann") == ["ann"]
    refused = facerec(data, "encryption", "unseal", **keys(TWO))
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    assert facerec(data, "encryption", "unseal", "--yes", **keys(TWO)).returncode == 0
    with serving(data) as server:
        assert matches(server, "cid") == ["cid"]
    assert "are plain" in facerec(data, "encryption", "status").stdout
