"""Requests as botocore writes them are read back equal, for every operation of the model."""

from __future__ import annotations

import random
from typing import Any

import botocore.loaders
import botocore.model
import botocore.serialize
import pytest
from shape_samples import sample

from facerec.api.rekognition.model import read_model
from facerec.api.rekognition.protocol import parse

MODEL = read_model()
BOTOCORE_MODEL = botocore.model.ServiceModel(
    botocore.loaders.Loader().load_service_model("rekognition", "service-2"), "rekognition"
)


def written_by_botocore(operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
    serializer = botocore.serialize.create_serializer("json", include_validation=True)
    written: dict[str, Any] = serializer.serialize_to_request(
        parameters, BOTOCORE_MODEL.operation_model(operation)
    )
    return written


@pytest.mark.parametrize("full", [True, False], ids=["full", "minimal"])
@pytest.mark.parametrize("operation", sorted(MODEL.operations))
def test_what_botocore_writes_is_read_back_equal(operation: str, full: bool) -> None:
    for seed in range(5):
        parameters = sample(MODEL.operations[operation].input, random.Random(seed), full=full)
        written = written_by_botocore(operation, parameters)
        assert written["headers"]["X-Amz-Target"] == f"{MODEL.target_prefix}.{operation}"
        assert parse(MODEL.operations[operation].input, written["body"]) == parameters


def test_the_model_is_the_one_that_clients_carry() -> None:
    assert len(MODEL.operations) == 75
    assert set(MODEL.operations) == set(BOTOCORE_MODEL.operation_names)
    assert MODEL.errors == {shape.name for shape in BOTOCORE_MODEL.error_shapes}
