"""Jobs over the machines of a Ray cluster: actors that hold the models, and one driver that leases for all.

The driver is a worker (`facerec.workers.loop`) whose handlers give their job to an actor and wait for it. So
leases, attempts, back-pressure and the graceful end are those of every worker. An actor that dies, with its
machine or without, is started again by Ray where there is room; its jobs are tried again.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from facerec.errors import ConfigurationError, FacerecError
from facerec.jobs.base import Job
from facerec.workers.handling import HandlerFailed, Handlers, Interrupted, JobControl

LOOK_SECONDS = 5.0
"""Between two looks at how large the cluster is."""

STOP_SECONDS = 1.0
"""Between two looks whether a job that is at work should come to its end."""

_log = logging.getLogger(__name__)

OpenHandlers = Callable[[], AbstractContextManager[Handlers]]
"""Opens a service and its handlers, in the process of an actor: a function that a module has, or a partial of
one, as it is sent there by name."""


class JobActor:
    """In a process of its own: a service with its models, which does jobs. Ray makes an actor of it."""

    def __init__(self, open_handlers: OpenHandlers) -> None:
        self._stops: dict[str, threading.Event] = {}
        self._stack = ExitStack()
        self._handlers = self._stack.enter_context(open_handlers())

    def do(self, job: Job) -> Exception | None:
        """Do a job; its error, if it raised one, as what a driver can judge."""
        stop = self._stops.setdefault(job.id, threading.Event())
        try:
            self._handlers[job.kind](job, JobControl(stop))
        except (FacerecError, Interrupted) as error:
            return error.with_traceback(None)
        except Exception as error:  # noqa: BLE001 - every error has its consequence for the job
            _log.exception("a job %s was not done", job.kind)
            return HandlerFailed(f"A defect of the service: {type(error).__name__}.")
        finally:
            self._stops.pop(job.id, None)
        return None

    def stop(self, job_id: str) -> None:
        """Have a job come to its end: what takes long is left to another worker."""
        stop = self._stops.get(job_id)
        if stop is not None:
            stop.set()

    def close(self) -> None:
        """Close the service."""
        self._stack.close()


class ActorPool:
    """The actors of a cluster: as many as it has processors for, however that changes."""

    def __init__(self, open_handlers: OpenHandlers, *, cpus: int, concurrency: int) -> None:
        """cpus: processors of an actor. concurrency: its jobs at work at once."""
        import ray

        self._ray = ray
        self._cpus = cpus
        self._concurrency = concurrency
        self._open_handlers = open_handlers
        self._actor = ray.remote(JobActor)
        self._in_flight: dict[Any, int] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._grow()
        self._thread = threading.Thread(target=self._look, name="facerec-ray", daemon=True)
        self._thread.start()

    @property
    def capacity(self) -> int:
        """Jobs that may be at work at once."""
        return len(self._in_flight) * self._concurrency

    def handlers(self, kinds: Collection[str]) -> Handlers:
        """Handlers that have jobs done by the actor that has the fewest."""
        return dict.fromkeys(kinds, self._do)

    def close(self) -> None:
        """Close the actors' services and end the actors."""
        self._closing.set()
        self._thread.join()
        ends = [actor.close.remote() for actor in self._in_flight]
        self._ray.wait(ends, num_returns=len(ends), timeout=LOOK_SECONDS)
        for actor in self._in_flight:
            self._ray.kill(actor)

    def _do(self, job: Job, control: JobControl) -> None:
        with self._lock:
            actor = min(self._in_flight, key=lambda each: self._in_flight[each])
            self._in_flight[actor] += 1
        try:
            ending = actor.do.remote(job)
            while not self._ray.wait([ending], timeout=STOP_SECONDS)[0]:
                if control.stopping:
                    actor.stop.remote(job.id)
            error = self._ray.get(ending)
        except self._ray.exceptions.RayError as lost:
            _log.warning("an actor was lost: %s", type(lost).__name__)
            raise HandlerFailed("The worker that did it died.") from None
        finally:
            with self._lock:
                self._in_flight[actor] -= 1
        if error is not None:
            raise error

    def _grow(self) -> None:
        """Have an actor for each share of the cluster's processors."""
        resources: Callable[[], dict[str, float]] = self._ray.cluster_resources
        wanted = max(int(resources().get("CPU", 0)) // self._cpus, 1)
        missing = wanted - len(self._in_flight)
        for _ in range(missing):
            # Its parts take care of the processors themselves; a few methods wait for images.
            actor = self._actor.options(
                num_cpus=self._cpus, max_concurrency=self._concurrency + 1, max_restarts=-1
            ).remote(self._open_handlers)
            with self._lock:
                self._in_flight[actor] = 0
        if missing > 0:
            _log.info("%d actors of %d processors each do jobs", wanted, self._cpus)

    def _look(self) -> None:
        while not self._closing.wait(LOOK_SECONDS):
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._grow()


@contextlib.contextmanager
def cluster(address: str | None, *, several_machines: bool) -> Iterator[None]:
    """Join the Ray cluster at an address ("auto": the one of this machine), or begin one here for None.

    several_machines: whether the settings allow for them. Raises ConfigurationError without Ray, where no
    cluster is there, or where it has more machines than the database.
    """
    if importlib.util.find_spec("ray") is None:
        raise ConfigurationError("`facerec worker --ray` needs Ray: pip install 'facerec[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
    import ray

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        ray.init(address=address, include_dashboard=None if address else False, log_to_driver=True)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigurationError(f"The Ray cluster {address} cannot be joined: {error}") from error
    finally:
        # Ray has handlers of its own, which end the process in the middle of its work.
        for number, handler in before.items():
            signal.signal(number, handler)
    nodes: Callable[[], list[dict[str, Any]]] = ray.nodes
    try:
        machines = len([node for node in nodes() if node["Alive"]])
        if machines > 1 and not several_machines:
            raise ConfigurationError(
                f"The Ray cluster has {machines} machines, and SQLite is on one: set DATABASE_URL"
            )
        yield
    finally:
        ray.shutdown()
