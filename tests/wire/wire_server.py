"""A whole service on a loopback port: real HTTP, use cases and database; the networks alone are not real."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
import orjson
import uvicorn
from botocore.config import Config
from shape_samples import differences
from starlette.types import ASGIApp

from facerec.api.app import create_app
from facerec.api.rekognition.errors import WIRE_ERRORS
from facerec.api.rekognition.model import read_model
from facerec.bootstrap import Service, open_service
from facerec.config import read_settings
from facerec.engine.base import Engine
from facerec.engine.fake import FakeEngine

if TYPE_CHECKING:
    from mypy_boto3_rekognition import RekognitionClient
    from mypy_boto3_rekognition.type_defs import ImageTypeDef

MODEL = read_model()
FRAMEWORK_CODES = {row.code for row in WIRE_ERRORS.values() if row.framework}
REGION: Final = "eu-central-1"
ACCOUNT: Final = "123456789012"


@dataclass(frozen=True, slots=True)
class Running:
    """A service at work, and where."""

    service: Service
    url: str

    def client(self, **options: Any) -> RekognitionClient:
        """A boto3 client that tries once, and holds every answer against the service model."""
        client = boto3.client(
            "rekognition",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id="AKIDEXAMPLE",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}, **options),
        )
        client.meta.events.register("before-parse.rekognition", _check_answer)
        return client


def inline(data: bytes) -> ImageTypeDef:
    """The `Image` structure of some bytes."""
    return {"Bytes": data}


def _check_answer(operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
    """botocore overlooks what it does not know; here an answer has to fit the model to the letter.

    An error has to be one that the model lists for the operation, or one of AWS's framework.
    """
    operation = MODEL.operations[operation_model.name]
    answer = orjson.loads(response_dict["body"])
    if response_dict["status_code"] == 200:
        found = differences(operation.output, answer)
        assert not found, found
    else:
        assert answer["__type"] in operation.errors | FRAMEWORK_CODES, answer


@contextlib.contextmanager
def running(
    folder: Path, *, engine: Engine | None = None, background: bool = False, **overrides: object
) -> Iterator[Running]:
    """The service with its data in `folder`, its settings overridden, on a free port.

    background: with what a service does beside its requests.
    """
    settings = read_settings(data_dir=folder, aws_region=REGION, account_id=ACCOUNT, **overrides)
    with (
        open_service(settings, engine=engine or FakeEngine(), background=background) as service,
        listening(create_app(service)) as url,
    ):
        yield Running(service, url)


@contextlib.contextmanager
def listening(app: ASGIApp) -> Iterator[str]:
    """The address of an application on a free port."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        opened.listen()
        config = uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=5)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{opened.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
