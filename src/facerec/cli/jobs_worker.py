"""`facerec worker`: does jobs, beside a service or on a machine of its own.

It is also the process that the command starts where several are wanted: its number and the settings come on
standard input then.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Annotated

import typer

from facerec.bootstrap import open_service, open_telling, open_worker
from facerec.cli.orders import order, read_order
from facerec.cli.output import note, one_line_errors
from facerec.config import Settings, read_settings
from facerec.engine.heap import share_heaps
from facerec.observability.exposition import (
    BuildInfo,
    counting_together,
    name_process,
    telling,
)
from facerec.observability.logs import configure_logging
from facerec.services.background import Background
from facerec.workers.processes import WorkerProcesses
from facerec.workers.spot import SpotNotice

PARENT_SECONDS = 1.0
"""Between two looks whether the process that started this one is still there."""


def worker(
    processes: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Processes that work; default: FACEREC_WORKER_PROCESSES, 1."),
    ] = None,
    ray: Annotated[bool, typer.Option("--ray", help="Spread the work over a Ray cluster.")] = False,
    address: Annotated[
        str | None,
        typer.Argument(help="With --ray, where the cluster is: HOST:PORT, auto; default: one made here."),
    ] = None,
) -> None:
    """Do jobs (albums, imports, videos, S3 events) until told to stop.

    By SIGTERM or Ctrl+C; a second time: at once.
    """
    if (address is not None and not ray) or (ray and processes is not None):
        raise typer.BadParameter("an address goes with --ray, and --processes without it")
    overrides = {} if processes is None else {"worker_processes": processes}
    settings = read_settings(**overrides)
    if ray:
        from facerec.cli.ray_worker import drive  # imported here: the others need nothing of it

        configure_logging(settings.log_level, form=settings.log_format)
        stopping = threading.Event()
        with _signals(stopping, lambda: os._exit(1)), _spot(settings, stopping):
            drive(settings, address, stopping)
        return
    if settings.worker_processes == 1:
        _work(settings, process="", stopping=threading.Event())
        return
    configure_logging(settings.log_level, form=settings.log_format, process="workers")
    settings = settings.model_copy(update={"workers": settings.worker_processes})
    stopping, at_once = threading.Event(), threading.Event()
    with (
        counting_together("workers"),
        _telling(settings),
        _signals(stopping, lambda: at_once.set()),
        _spot(settings, stopping),
    ):
        note(f"{settings.workers} processes do jobs.")
        WorkerProcesses(settings.workers, lambda number: _start(settings, number)).run(stopping, at_once)


def _work(settings: Settings, *, process: str, stopping: threading.Event) -> None:
    """Do jobs in this process."""
    configure_logging(settings.log_level, form=settings.log_format, process=process)
    os.nice(settings.worker_nice)  # before there are threads, which take it over
    share_heaps(settings.threads)
    with _signals(stopping, lambda: os._exit(1)), open_service(settings) as service:
        threads = settings.jobs_at_once
        note(f"Jobs are done with the model pack {service.engine.contract.pack}, {threads} at a time.")
        notices = contextlib.closing(open_telling(settings, service.database))
        with _spot(settings, stopping), _telling(settings), notices:
            open_worker(service, threads).run(stopping)


@contextlib.contextmanager
def _signals(stopping: threading.Event, at_once: Callable[[], object]) -> Iterator[None]:
    """The first SIGTERM or SIGINT stops gracefully, the second calls `at_once`."""

    def stop(_number: int, _frame: object) -> None:
        if stopping.is_set():
            at_once()
        stopping.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _telling(settings: Settings) -> Iterator[None]:
    """Tell the metrics of this process and those that it has started, where the settings say so."""
    if settings.metrics_port is None:
        yield
        return
    about = BuildInfo({"vector_store": settings.vector_store})
    with telling(settings.metrics_host, settings.metrics_port, about) as port:
        note(f"Metrics are at http://{settings.metrics_host}:{port}/metrics.")
        yield


@contextlib.contextmanager
def _spot(settings: Settings, stopping: threading.Event) -> Iterator[None]:
    """Stop gracefully when the machine is about to be taken away."""
    if settings.spot_notice == "off":
        yield
        return
    url = None if settings.spot_notice == "auto" else settings.spot_notice
    with contextlib.closing(SpotNotice(stopping.set, url=url)):
        yield


def _start(settings: Settings, number: int) -> subprocess.Popen[bytes]:
    """Start one of several processes."""
    # -P: nothing in the working folder is taken for a module. In a group of its own, so that Ctrl+C reaches
    # it by way of this process alone; in this session, for Linux weighs niceness within a session.
    process = subprocess.Popen(  # noqa: S603 - a number of our own
        [sys.executable, "-P", "-m", "facerec.cli.jobs_worker", str(number)],
        stdin=subprocess.PIPE,
        process_group=0,
    )
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(order(settings))
    return process


def _work_as_told(number: int) -> None:
    parent = os.getppid()
    settings = read_order(sys.stdin.buffer.read()).share(number)
    # What happens to the machine, the process that started this one is told; and it tells the metrics of all.
    settings = settings.model_copy(update={"spot_notice": "off", "metrics_port": None})
    name_process(f"worker-{number}")
    stopping = threading.Event()

    def look() -> None:
        if os.getppid() != parent:
            stopping.set()

    with contextlib.closing(Background("parent", look, pause=PARENT_SECONDS)):
        _work(settings, process=f"worker-{number}", stopping=stopping)


if __name__ == "__main__":
    with one_line_errors():
        _work_as_told(int(sys.argv[1]))
