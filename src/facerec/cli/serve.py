"""`facerec serve`: the service over HTTP."""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from facerec.api.app import create_app
from facerec.api.server import BACKLOG, CONNECTIONS_PER_REQUEST, address_of, bind, run
from facerec.api.tls import Certificate
from facerec.api.watching import Draining
from facerec.bootstrap import open_keys, open_service
from facerec.cli import from_terminal
from facerec.cli.supervisor import Supervisor
from facerec.config import Settings, read_settings
from facerec.engine.heap import share_heaps
from facerec.metastore import open_metastore
from facerec.observability.exposition import counting_together
from facerec.observability.logs import configure_logging
from facerec.services.background import Background

RENEWAL_SECONDS = 10.0
"""Between two looks whether the certificate's files have changed."""

_log = logging.getLogger(__name__)


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; beyond this machine only with an access key.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes that answer; default: FACEREC_WORKERS, 1.")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="PEM file of a certificate: answer by HTTPS (FACEREC_TLS_CERT).")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="PEM file of its key, without a password (FACEREC_TLS_KEY).")
    ] = None,
) -> None:
    """Answer AWS clients over HTTP until told to stop (SIGTERM, Ctrl+C)."""
    given = {"host": host, "port": port, "workers": workers, "tls_cert": tls_cert, "tls_key": tls_key}
    overrides = {name: value for name, value in given.items() if value is not None}
    settings = read_settings(**overrides)
    several = settings.workers > 1
    configure_logging(settings.log_level, form=settings.log_format, process="supervisor" if several else "")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    if from_terminal():
        signal.signal(signal.SIGHUP, _terminal_closed)
    elif not several:  # a supervisor takes it once it runs
        signal.signal(signal.SIGHUP, _go_on)
    _allow_descriptors()
    # The address first: a port in use or a missing key shows at once, not after the models are loaded.
    listening = bind(settings.host, settings.port)
    signed = _check_access(settings)
    tls = _certificate(settings) is not None  # one that can not be read shows now, too

    def greet(pack: str) -> None:
        with contextlib.suppress(OSError):  # a full disk under the log is no reason not to serve
            typer.echo(_greeting(address_of(listening, tls=tls), pack, signed=signed))

    with listening:
        if several:
            with counting_together("supervisor") as counts:
                supervisor = Supervisor(
                    listening, settings, reread=lambda: read_settings(**overrides), greet=greet, counts=counts
                )
                code = supervisor.run()
            raise typer.Exit(code)
        _answer_alone(listening, settings, greet)


def _allow_descriptors() -> None:
    """Let this process, and those it starts, have as many files and connections open as the system lets them.

    Shells and systemd give 1024 at first, which is about as many as the connections that one process takes.
    """
    with contextlib.suppress(ImportError, OSError, ValueError):  # Windows has no such limit
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _answer_alone(listening: socket.socket, settings: Settings, greet: Callable[[str], None]) -> None:
    """Answer in this process."""
    share_heaps(settings.threads)
    with open_service(settings, background=True) as service, opened_certificate(settings) as tls:
        listening.listen(BACKLOG)
        greet(service.engine.contract.pack)
        draining = Draining()
        app = create_app(service, draining=draining)
        gc.freeze()  # what a service is made of stays: the collector of garbage need not look at it again
        run(
            app,
            listening,
            draining,
            drain_seconds=settings.drain_seconds,
            max_connections=settings.max_queue * CONNECTIONS_PER_REQUEST,
            tls=tls,
        )


def _certificate(settings: Settings) -> Certificate | None:
    """The settings' certificate; None for plain HTTP. Raises ConfigurationError."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return Certificate(settings.tls_cert, settings.tls_key)


@contextlib.contextmanager
def opened_certificate(settings: Settings) -> Iterator[ssl.SSLContext | None]:
    """What HTTPS is answered with, kept up to date with its files; None for plain HTTP.

    Raises ConfigurationError.
    """
    certificate = _certificate(settings)
    if certificate is None:
        yield None
        return
    with contextlib.closing(Background("certificate", certificate.renew, pause=RENEWAL_SECONDS)):
        yield certificate.context


def _check_access(settings: Settings) -> bool:
    """Whether there are access keys; warns of what should not surprise.

    Raises ConfigurationError where the address and the keys do not go together.
    """
    database = open_metastore(settings)
    try:
        keys = open_keys(settings, database)
        warning = keys.check_address(settings.host)
        if warning is not None:
            _log.warning(warning)
        return bool(keys.list())
    finally:
        database.close()


def _stop(_number: int, _frame: object) -> None:
    """Leave by way of every open part: what is open is closed, and the exit code is 0.

    While the server runs it takes the signals itself, finishes the requests at work and then raises them
    again.
    """
    raise SystemExit(0)


def _terminal_closed(_number: int, _frame: object) -> None:
    """End as by SIGTERM."""
    signal.raise_signal(signal.SIGTERM)


def _go_on(_number: int, _frame: object) -> None:
    """Answer on: a supervisor alone reads the settings anew."""
    _log.warning("One process alone can not read its settings anew: SIGHUP is ignored, restart the service.")


def _greeting(address: str, pack: str, *, signed: bool) -> str:
    """Where the service is, and how to use it."""
    keys = "" if signed else "AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any "
    given = "" if signed else ', aws_access_key_id="any", aws_secret_access_key="any"'
    region = "--region us-east-1"
    regions = "AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1"  # boto3 looks at the second alone
    client = f'boto3.client("rekognition", endpoint_url="{address}", region_name="us-east-1"{given})'
    return "\n".join(
        (
            f"facerec listens on {address} with the model pack {pack}.",
            f"  Browser     {address}/console",
            f"  Python      {client}",
            f"  AWS CLI     {keys}aws rekognition list-collections --endpoint-url {address} {region}",
            f"  Any SDK     {keys}{regions} AWS_ENDPOINT_URL_REKOGNITION={address}",
        )
    )
