"""The API's description is true: requests made from it get the answers that it states, whatever they hold."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance
from wire_server import running

from facerec.access import KeyKind
from facerec.api.app import create_app
from facerec.api.rest.app import PREFIX, at_the_root
from facerec.engine.fake import draw

EXAMPLES = 6
"""Requests of each kind for each operation."""
PATIENCE = 120
"""Seconds that a busy machine may take for an answer."""

PICTURES = [base64.b64encode(draw(*people)).decode() for people in ((), ("ann",), ("bob", "ann"))]

schemathesis.openapi.format("image", st.sampled_from(PICTURES))


@dataclass(frozen=True)
class Described:
    """A service with a collection of the name guests, its description, and a key that opens it."""

    description: BaseSchema
    at_the_root: BaseSchema
    """The same, of what is answered without the prefix."""
    key: str


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory, s3_url: str) -> Iterator[Described]:
    # A parameter that nobody knows is passed over, as everywhere on the web.
    config = schemathesis.Config.from_dict({"generation": {"allow-extra-parameters": False}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        yield from _described(tmp_path_factory.mktemp("service"), s3_url, config)


def _described(folder: Path, s3_url: str, config: schemathesis.Config) -> Iterator[Described]:
    with running(folder, s3_endpoint_url=s3_url) as server:
        server.service.collections.create("guests")
        key = server.service.keys.create(kind=KeyKind.API).secret
        app = create_app(server.service)
        description, root = (
            schemathesis.openapi.from_asgi(f"{PREFIX}/openapi.json", app, config=config) for _ in range(2)
        )
        root.raw_schema["servers"] = [{"url": "/"}]
        root.raw_schema["paths"] = {
            path: methods for path, methods in root.raw_schema["paths"].items() if at_the_root(path)
        }
        yield Described(description, root, key)


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("prefix", "least"), [(PREFIX, 60), ("", 18)])
def test_every_answer_is_as_described(
    described: Described, prefix: str, least: int, mode: GenerationMode
) -> None:
    """Of requests that are right, as far as the description tells, and of ones that are wrong."""
    operations = []
    for found in (described.description if prefix else described.at_the_root).get_all_operations():
        assert isinstance(found, Ok), found
        operations.append(found.ok())
        assert operations[-1].full_path.startswith(f"{prefix}/")
        assert prefix or not operations[-1].full_path.startswith(PREFIX)
    assert len(operations) >= least
    headers = {"Host": "127.0.0.1", "X-API-Key": described.key}
    # What may be sent and is refused all the same: an album's id that is taken, a file that is no picture.
    # And wrong keys are tried until they are answered with 429, which is not taken for a refusal.
    excluded = [positive_data_acceptance, ignored_auth]
    done = 0
    for operation in operations:

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Case[Any]) -> None:
            right = mode is GenerationMode.POSITIVE and case.method != "DELETE"
            if right and "collection_id" in case.path_parameters:
                case.path_parameters["collection_id"] = "guests"
            nonlocal done
            answer = case.call_and_validate(headers=headers, excluded_checks=excluded, timeout=PATIENCE)
            done += answer.status_code < 300

        ask()
    assert mode is GenerationMode.NEGATIVE or done > least


def test_the_description_is_fit_for_generating_clients(described: Described) -> None:
    raw = described.description.raw_schema
    assert raw["openapi"].startswith("3.1")
    groups = {tag["name"] for tag in raw["tags"]}
    ids = []
    for path, methods in raw["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            ids.append(operation["operationId"])
            assert operation["operationId"].isidentifier(), where
            assert operation["description"], where
            assert set(operation["tags"]) <= groups, where
            for status in ("4XX", "5XX", "422"):
                error = operation["responses"][status]["content"]["application/json"]["schema"]
                assert error == {"$ref": "#/components/schemas/ErrorBody"}, where
            assert {"APIKeyHeader": []} in operation["security"], where
    assert len(ids) == len(set(ids))
