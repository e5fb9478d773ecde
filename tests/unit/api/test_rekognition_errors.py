"""The table of errors: complete, and saying nothing of what is inside."""

from __future__ import annotations

import importlib
import logging
import pkgutil

import orjson
import pytest

import facerec
from facerec.api.rekognition.errors import WIRE_ERRORS, MalformedRequest, error_body, wire_error
from facerec.api.rekognition.model import read_model
from facerec.errors import Cancelled, FacerecError, NotFound, Overloaded, StorageError

FRAMEWORK_CODES = {
    "IncompleteSignatureException",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "RequestEntityTooLargeException",
    "SerializationException",
    "UnknownOperationException",
    "UnrecognizedClientException",
    "ValidationException",
}


def subclasses(error: type[FacerecError]) -> set[type[FacerecError]]:
    """A class of the package with all that derive from it."""
    found = {error} if error.__module__.startswith("facerec.") else set()
    return found.union(*(subclasses(derived) for derived in error.__subclasses__()))


def test_every_error_class_has_a_row() -> None:
    for module in pkgutil.walk_packages(facerec.__path__, "facerec."):
        if ".migrations." not in module.name:  # these run only inside Alembic
            importlib.import_module(module.name)
    assert subclasses(FacerecError) == set(WIRE_ERRORS)


def test_every_code_is_one_of_the_model_or_of_the_framework() -> None:
    modelled = read_model().errors
    for row in WIRE_ERRORS.values():
        assert (row.code in FRAMEWORK_CODES) if row.framework else (row.code in modelled), row


def test_errors_of_rekognition_and_of_the_framework_have_aws_forms() -> None:
    assert orjson.loads(error_body(NotFound("gone"), "an-id")[1]) == {
        "__type": "ResourceNotFoundException",
        "Code": "ResourceNotFoundException",
        "Logref": "an-id",
        "Message": "gone",
    }
    assert orjson.loads(error_body(MalformedRequest("bad"), "an-id")[1]) == {
        "__type": "SerializationException",
        "message": "bad",
    }


def test_overload_is_told_in_the_way_that_clients_repeat() -> None:
    row = wire_error(Overloaded())
    assert (row.code, row.status) == ("ProvisionedThroughputExceededException", 400)


@pytest.mark.parametrize("error", [StorageError("/var/lib/x is full"), ZeroDivisionError("at /srv/x")])
def test_an_internal_error_is_logged_and_not_told(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        status, body = error_body(error, "an-id")
    assert status == 500
    assert orjson.loads(body)["Message"] == "Internal server error"
    assert caplog.records[0].exc_info is not None
    assert caplog.records[0].exc_info[1] is error


def test_a_caller_that_has_gone_is_no_error_of_the_service(caplog: pytest.LogCaptureFixture) -> None:
    error_body(Cancelled(), "an-id")
    assert not caplog.records
