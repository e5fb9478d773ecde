"""`facerec worker`: does jobs, beside a service or on a machine of its own.

It is also the process that the command starts where several are wanted, and that forks them: the settings
come on standard input then. `facerec.workers.processes` says why.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer

from facerec.cli.orders import order, read_order
from facerec.cli.output import note, one_line_errors
from facerec.config import Settings, read_settings
from facerec.engine.heap import share_heaps
from facerec.jobs.base import new_holder
from facerec.observability.exposition import (
    BuildInfo,
    counting_together,
    name_process,
    telling,
)
from facerec.observability.logs import configure_logging
from facerec.services.background import Background
from facerec.workers.processes import ForkedProcess, KeptProcesses
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
        _import_ahead(settings)
        _work(settings, process="", stopping=threading.Event())
        return
    configure_logging(settings.log_level, form=settings.log_format, process="workers")
    settings = settings.model_copy(update={"workers": settings.worker_processes})
    stopping, at_once = threading.Event(), threading.Event()
    with (
        counting_together("workers"),
        _telling(settings),
        _signals(stopping, at_once.set),
        _spot(settings, stopping),
    ):
        note(f"{settings.workers} processes do jobs.")
        KeptProcesses({"the parent of the workers": lambda: _Forker(settings)}).run(stopping.wait, at_once)


def _import_ahead(settings: Settings) -> None:
    """Import what does jobs."""
    # It stays: to look for garbage among it would take a sixth of the time, and a process that was forked
    # would write to memory that it shares.
    gc.disable()
    from facerec.bootstrap import import_ahead  # here: a command that has others work needs none of it

    import_ahead(settings)
    gc.freeze()
    gc.enable()


def _work(
    settings: Settings, *, process: str, stopping: threading.Event, leases: _Leases | None = None
) -> None:
    """Do jobs in this process."""
    from facerec.bootstrap import open_service, open_telling, open_worker

    configure_logging(settings.log_level, form=settings.log_format, process=process)
    os.nice(settings.worker_nice)  # before there are threads, which take it over
    share_heaps(settings.threads)
    with (
        _signals(stopping, lambda: os._exit(1)),
        open_service(settings, job_holder=leases.holder if leases else None) as service,
    ):
        if leases and leases.of_dead is not None:
            service.jobs.bury(leases.of_dead)
        gc.freeze()  # what a service is made of stays: the collector of garbage need not look at it again
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


class _Forker(subprocess.Popen[bytes]):
    """The process that forks the workers, and keeps them."""

    def __init__(self, settings: Settings) -> None:
        # -P: nothing in the working folder is taken for a module. In a group of its own, so that Ctrl+C
        # reaches it and its workers by way of this process alone; in this session, for Linux weighs niceness
        # within a session.
        super().__init__(
            [sys.executable, "-P", "-m", "facerec.cli.jobs_worker", str(os.getpid())],
            stdin=subprocess.PIPE,
            process_group=0,
        )
        if self.stdin is not None:
            with contextlib.suppress(BrokenPipeError), self.stdin as pipe:
                pipe.write(order(settings))

    def kill(self) -> None:
        """End it at once, and its workers with it: they are of its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def _keep_workers(parent: int) -> None:
    """Fork the workers from this process, and keep them until told to stop, or `parent` is gone."""
    settings = read_order(sys.stdin.buffer.read())
    configure_logging(settings.log_level, form=settings.log_format, process="workers")
    _import_ahead(settings)
    # What happens to the machine, the process that started this one is told; and it tells the metrics of all.
    settings = settings.model_copy(update={"spot_notice": "off", "metrics_port": None})
    stopping, at_once = threading.Event(), threading.Event()

    holders: dict[int, str] = {}

    def fork(number: int) -> ForkedProcess:
        leases = _Leases(new_holder(), of_dead=holders.get(number))
        holders[number] = leases.holder
        process = ForkedProcess(target=_work_forked, args=(settings, number, os.getpid(), stopping, leases))
        process.start()
        return process

    def over(seconds: float) -> bool:
        return stopping.wait(seconds) or os.getppid() != parent

    with _signals(stopping, at_once.set):
        workers = {f"worker-{number}": partial(fork, number) for number in range(1, settings.workers + 1)}
        KeptProcesses(workers).run(over, at_once)


@dataclass(frozen=True, slots=True)
class _Leases:
    """What the leases of jobs of a worker are known by, and those of the one in whose place it is."""

    holder: str
    of_dead: str | None


def _work_forked(
    settings: Settings, number: int, parent: int, stopping: threading.Event, leases: _Leases
) -> None:
    """Do jobs in a process forked from `parent`.

    stopping: its parent's, a copy of which the handlers of signals, that were forked too, set from the start.
    """
    with one_line_errors():
        name_process(f"worker-{number}")

        def look() -> None:
            if os.getppid() != parent:
                stopping.set()

        with contextlib.closing(Background("parent", look, pause=PARENT_SECONDS)):
            _work(settings.share(number), process=f"worker-{number}", stopping=stopping, leases=leases)


if __name__ == "__main__":
    with one_line_errors():
        _keep_workers(int(sys.argv[1]))
