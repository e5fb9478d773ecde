"""One of the processes that `facerec serve` answers with; its supervisor starts it, with two numbers.

They are the descriptor of its end of the link, and its own number from 1. The settings come on standard
input.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys

from facerec.api.app import create_app
from facerec.api.link import WorkerEnd
from facerec.api.server import CONNECTIONS_PER_REQUEST, PATIENCE_SECONDS, run_worker
from facerec.api.watching import Draining
from facerec.bootstrap import open_service
from facerec.cli.orders import read_order
from facerec.cli.output import one_line_errors
from facerec.cli.serve import opened_certificate
from facerec.engine.heap import share_heaps
from facerec.observability.exposition import name_process
from facerec.observability.logs import configure_logging


def work(descriptor: int, number: int) -> None:
    """Answer requests until the supervisor says that it is enough, or is gone."""
    joined = socket.socket(fileno=descriptor)
    joined.set_inheritable(False)
    link = WorkerEnd(joined, patience=PATIENCE_SECONDS)
    settings = read_order(sys.stdin.buffer.read()).share(number)
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
        work(int(sys.argv[1]), int(sys.argv[2]))
