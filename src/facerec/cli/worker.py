"""One of the processes that `facerec serve` answers with; its supervisor starts it, with a number.

The number is the descriptor of its end of the link. What it is to do comes on standard input.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys

from facerec.api.app import create_app
from facerec.api.link import WorkerEnd
from facerec.api.server import CONNECTIONS_PER_REQUEST, PATIENCE_SECONDS, run_worker
from facerec.api.watching import Draining
from facerec.bootstrap import open_service
from facerec.cli.output import one_line_errors
from facerec.cli.serve import opened_certificate
from facerec.config import Settings, read_settings
from facerec.engine.heap import share_heaps
from facerec.observability.exposition import name_process
from facerec.observability.logs import configure_logging


def read_order(content: bytes) -> tuple[Settings, int]:
    """The settings of one worker, its share of what is split, and its number; see `supervisor.order`."""
    given = json.loads(content)
    return read_settings(**given["settings"]).share(given["number"]), given["number"]


def work(descriptor: int) -> None:
    """Answer requests until the supervisor says that it is enough, or is gone."""
    joined = socket.socket(fileno=descriptor)
    joined.set_inheritable(False)
    link = WorkerEnd(joined, patience=PATIENCE_SECONDS)
    settings, number = read_order(sys.stdin.buffer.read())
    configure_logging(settings.log_level, form=settings.log_format, process=f"worker-{number}")
    share_heaps(settings.threads)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, _stop)
    # Until the server runs, to be told to stop is like being asked by a signal.
    link.watch(stop=lambda: os.kill(os.getpid(), signal.SIGTERM))
    name_process(f"worker-{number}")
    with open_service(settings, background=True) as service, opened_certificate(settings) as tls:
        draining = Draining()
        app = create_app(service, worker=number, draining=draining)
        gc.freeze()  # what a service is made of stays: the collector of garbage need not look at it again
        run_worker(
            app,
            link,
            draining,
            pack=service.engine.contract.pack,
            max_connections=settings.max_queue * CONNECTIONS_PER_REQUEST,
            tls=tls,
        )


def _stop(_number: int, _frame: object) -> None:
    """Leave by way of every open part."""
    raise SystemExit(0)


if __name__ == "__main__":
    with one_line_errors():
        work(int(sys.argv[1]))
