"""The REST door's table of errors: complete, and saying nothing of what is inside."""

from __future__ import annotations

import asyncio
import inspect
import json

import pytest
from starlette.requests import Request

from facerec import errors
from facerec.api.rest.errors import REST_ERRORS, answer_error, rest_error

ALL = {
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.FacerecError)
}


def answered(error: Exception) -> tuple[int, dict[str, str]]:
    response = asyncio.run(answer_error(Request({"type": "http"}), error))
    found: dict[str, str] = json.loads(bytes(response.body))
    return response.status_code, found


def test_every_error_has_a_row_of_its_own() -> None:
    assert set(REST_ERRORS) == ALL
    assert all(row.hint for row in REST_ERRORS.values())


def test_the_names_that_clients_know() -> None:
    codes = {row.code for row in REST_ERRORS.values()}
    assert codes >= {
        *("FaceNotDetected", "MultipleFaces", "PoorQuality", "PersonNotFound", "ModelError", "StorageError")
    }


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.StorageError("the disk /data/x is full"), 500, "StorageError"),
        (errors.DatabaseUnavailable("db.internal:5432 refused"), 503, "StorageError"),
        (errors.PackError("/models/secret.onnx is damaged"), 500, "ModelError"),
        (ValueError("line 3"), 500, "InternalError"),
    ],
)
def test_of_what_is_inside_nothing_is_told(error: Exception, status: int, code: str) -> None:
    told, body = answered(error)
    assert (told, body["code"]) == (status, code)
    assert str(error) not in json.dumps(body)


def test_an_error_of_a_door_is_sent_as_what_it_is_a_kind_of() -> None:
    class Odd(errors.PersonNotFound):
        """Odd."""

    assert rest_error(Odd()).code == "PersonNotFound"
