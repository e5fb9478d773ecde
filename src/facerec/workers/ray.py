"""Workers over the machines of a Ray cluster: an actor for each, and one driver that has them there.

Each actor is a worker (`facerec.workers.loop`) that leases its own jobs and tells the queue what became of
them. No job passes through the driver, or through Ray, so an image costs what it costs any worker. An actor
that dies, with its machine or without, is replaced where there is room; what it held is left as by any worker
that was killed: the leases run out, and the attempts count. Actors of a driver that dies die with it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from facerec.errors import ConfigurationError
from facerec.workers.loop import Worker

LOOK_SECONDS = 1.0
"""Between two looks at how large the cluster is, and which actors are at work."""

ANSWER_SECONDS = 5.0
"""How long actors have to hear that they should stop; those that do not are not there."""

_log = logging.getLogger(__name__)

OpenWorker = Callable[[], AbstractContextManager[Worker]]
"""Opens a service and its worker, in the process of an actor: a function that a module has, or a partial of
one, as it is sent there by name."""


class JobActor:
    """In a process of its own: a worker, and the service with its models. Ray makes an actor of it."""

    def __init__(self) -> None:
        self._stopping = threading.Event()

    def work(self, open_worker: OpenWorker) -> str:
        """Do jobs until told to stop, and finish those at work; what became of all, for people."""
        try:
            with open_worker() as worker:
                worker.run(self._stopping)
        except Exception:
            _log.exception("the worker of an actor ended")
            raise
        return str(worker.tally)

    def stop(self) -> None:
        """Have the work come to its end."""
        self._stopping.set()


@dataclass(frozen=True, slots=True, eq=False)
class _Member:
    """An actor of the pool, and the end of its work."""

    actor: Any
    end: Any


class ActorPool:
    """The actors of a cluster: as many as it has processors for, however that changes."""

    def __init__(self, open_worker: OpenWorker, *, cpus: int) -> None:
        """cpus: processors of an actor."""
        import ray

        self._ray = ray
        self._cpus = cpus
        self._open_worker = open_worker
        self._actor = ray.remote(JobActor)
        self._members: list[_Member] = []

    def run(self, stopping: threading.Event) -> None:
        """Have the actors at work until `stopping` is set; then until each has finished what it has begun."""
        while not stopping.is_set():
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._remove_ended()
                self._grow()
            stopping.wait(LOOK_SECONDS)
        asked = {member.actor.stop.remote(): member for member in self._members}
        if asked:
            for heard in self._ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS)[0]:
                _log.info("an actor ends: %s", self._outcome(asked[heard]))
        for member in self._members:
            self._ray.kill(member.actor)

    def _remove_ended(self) -> None:
        """Let those actors go whose work has ended unasked: they died, or could not begin."""
        for member in list(self._members):
            if self._ray.wait([member.end], timeout=0)[0]:
                _log.warning("an actor was lost: %s", self._outcome(member))
                self._members.remove(member)
                self._ray.kill(member.actor)

    def _grow(self) -> None:
        """Have an actor for each share of the cluster's processors."""
        resources: Callable[[], dict[str, float]] = self._ray.cluster_resources
        wanted = max(int(resources().get("CPU", 0)) // self._cpus, 1)
        missing = wanted - len(self._members)
        for _ in range(missing):
            # Its parts take care of the processors themselves. Two methods at once: it works, and is stopped.
            actor: Any = self._actor.options(num_cpus=self._cpus, max_concurrency=2).remote()
            self._members.append(_Member(actor, actor.work.remote(self._open_worker)))
        if missing > 0:
            _log.info("%d actors of %d processors each do jobs", wanted, self._cpus)

    def _outcome(self, member: _Member) -> str:
        """How the work of an actor ended, once it has."""
        try:
            return str(self._ray.get(member.end))
        except self._ray.exceptions.RayError as error:
            return type(error).__name__


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
