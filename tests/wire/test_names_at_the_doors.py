"""What callers know the service by: paths, their fields, and codes of errors, as the description has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from wire_server import running

from facerec.api.rest.errors import REST_ERRORS

OPERATIONS = {
    "POST /register": {"person_id", "images", "metadata"},
    "POST /verify": {"image", "person_id", "threshold"},
    "POST /identify": {"image", "max_faces"},
    "GET /faces/{person_id}": set(),
    "PUT /faces/{person_id}": {"images", "replace", "metadata"},
    "DELETE /faces/{person_id}": set(),
    "GET /persons": set(),
    "POST /api/v1/detect-faces": {"file"},
    "POST /api/v1/collections/{collection_id}/index-faces": {"file", "external_image_id"},
    "POST /api/v1/collections/{collection_id}/search-faces": {"file", "similarity_threshold", "max_faces"},
    "POST /api/v1/face-recognition/index": {"bucket", "key", "collection_id", "max_faces"},
    "POST /api/v1/face-recognition/match": {"bucket", "key", "collection_id", "threshold"},
}
"""Operations, and fields of their forms or JSON."""

CODES = {"FaceNotDetected", "MultipleFaces", "PoorQuality", "PersonNotFound", "ModelError", "StorageError"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder: Path = tmp_path_factory.mktemp("data")
    with running(folder) as server, httpx.Client(base_url=server.url, timeout=60) as opened:
        yield opened


@pytest.fixture(scope="module")
def description(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/api/v1/openapi.json").json()
    return found


def fields(description: dict[str, Any], operation: dict[str, Any]) -> set[str]:
    """Every field that an operation takes in its body, whichever form that has."""
    found: set[str] = set()
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = content["schema"]
        if "$ref" in schema:
            schema = description["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        found |= set(schema["properties"])
    return found


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_and_their_fields(description: dict[str, Any], name: str) -> None:
    # Everything is under /api/v1, the registry of persons at the root as well.
    assert [server["url"] for server in description["servers"]] == ["/api/v1"]
    method, _, path = name.partition(" ")
    operation = description["paths"][path.removeprefix("/api/v1")][method.lower()]
    assert OPERATIONS[name] <= fields(description, operation)


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/metrics", "/api/v1/docs"])
def test_what_is_there_beside_them(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200


def test_codes_of_errors() -> None:
    assert {row.code for row in REST_ERRORS.values()} >= CODES
