"""`facerec serve`: the service over HTTP."""

from __future__ import annotations

import logging
import signal
from typing import Annotated

import typer

from facerec.api.app import create_app
from facerec.api.server import BACKLOG, address_of, bind, run
from facerec.bootstrap import open_keys, open_service
from facerec.config import Settings, read_settings
from facerec.engine.heap import share_heaps
from facerec.metastore import open_metastore
from facerec.observability import configure_logging

CONNECTIONS_PER_REQUEST = 4
"""Connections open at once for each request that may wait; clients keep idle ones for later."""

_log = logging.getLogger(__name__)


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; beyond this machine only with an access key.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = None,
) -> None:
    """Answer AWS clients over HTTP until told to stop (SIGTERM, Ctrl+C)."""
    overrides = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = read_settings(**overrides)
    configure_logging(settings.log_level)
    share_heaps(settings.threads)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    # The address first: a port in use or a missing key shows at once, not after the models are loaded.
    listening = bind(settings.host, settings.port)
    warning = _check_access(settings)
    if warning is not None:
        _log.warning(warning)
    with listening, open_service(settings) as service:
        listening.listen(BACKLOG)
        address = address_of(listening)
        typer.echo(_greeting(address, service.engine.contract.pack, signed=bool(service.keys.list())))
        run(create_app(service), listening, max_connections=settings.max_queue * CONNECTIONS_PER_REQUEST)


def _check_access(settings: Settings) -> str | None:
    """What to warn of; raises ConfigurationError where the address and the keys do not go together."""
    database = open_metastore(settings)
    try:
        return open_keys(settings, database).check_address(settings.host)
    finally:
        database.close()


def _stop(_number: int, _frame: object) -> None:
    """Leave by way of every open part: what is open is closed, and the exit code is 0.

    While the server runs it takes the signals itself, finishes the requests at work and then raises them
    again.
    """
    raise SystemExit(0)


def _greeting(address: str, pack: str, *, signed: bool) -> str:
    """Where the service is, and how to use it."""
    keys = "" if signed else " AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any"
    return "\n".join(
        (
            f"facerec listens on {address} with the model pack {pack}.",
            f'  Python      boto3.client("rekognition", endpoint_url="{address}", region_name="us-east-1")',
            f"  AWS CLI     aws rekognition list-collections --endpoint-url {address} --region us-east-1",
            f"  Any SDK     AWS_ENDPOINT_URL_REKOGNITION={address} AWS_REGION=us-east-1{keys}",
        )
    )
