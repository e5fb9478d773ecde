"""Jobs over the machines of a Ray cluster: actors that hold the models, and one driver that leases for all.

The driver is a worker (`facerec.workers.loop`) whose handlers give their job to an actor and wait for it. So
leases, attempts, back-pressure and the graceful end are those of every worker. An actor that dies, with its
machine or without, is started again by Ray where there is room. Until it answers it is given nothing, and
while none answers no job is leased. What it had at work is left as by any worker that was killed: the lease
runs out, and the attempt counts. What it had not begun counts none.
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
from dataclasses import dataclass
from typing import Any

from facerec.errors import ConfigurationError, FacerecError
from facerec.jobs.base import Job
from facerec.workers.handling import HandlerFailed, Handlers, Interrupted, JobControl, Lost

LOOK_SECONDS = 1.0
"""Between two looks at how large the cluster is, and which actors answer."""

CLOSE_SECONDS = 5.0
"""How long actors have to close their services."""

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

    def ping(self) -> None:
        """Answer: the service is open, and does jobs."""

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


@dataclass(slots=True, eq=False)
class _Member:
    """An actor of the pool."""

    actor: Any
    question: Any
    """Whether it is there, until it has answered; then None, and it is given jobs."""
    at_work: int = 0


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
        self._members: list[_Member] = []
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._grow()
        self._thread = threading.Thread(target=self._look, name="facerec-ray", daemon=True)
        self._thread.start()

    @property
    def capacity(self) -> int:
        """Jobs that may be at work at once: 0 while no actor answers."""
        with self._changed:
            return len(self._living()) * self._concurrency

    def handlers(self, kinds: Collection[str]) -> Handlers:
        """Handlers that have jobs done by the actor that has the fewest."""
        return dict.fromkeys(kinds, self._do)

    def close(self) -> None:
        """Close the actors' services and end the actors."""
        self._closing.set()
        self._thread.join()
        ends = [member.actor.close.remote() for member in self._living()]
        self._ray.wait(ends, num_returns=len(ends), timeout=CLOSE_SECONDS) if ends else None
        for member in self._members:
            self._ray.kill(member.actor)

    def _living(self) -> list[_Member]:
        return [member for member in self._members if member.question is None]

    def _do(self, job: Job, control: JobControl) -> None:
        """Have a job done. Raises Interrupted where no actor has begun it, Lost where one died over it."""
        member = self._take(control)
        begun = False
        try:
            # The last answer of an actor that died a moment ago says nothing, so it is asked once more.
            self._ray.get(member.actor.ping.remote())
            begun = True
            ending = member.actor.do.remote(job)
            while not self._ray.wait([ending], timeout=STOP_SECONDS)[0]:
                if control.stopping:
                    member.actor.stop.remote(job.id)
            error = self._ray.get(ending)
        except self._ray.exceptions.RayTaskError:
            raise  # it lives: this is a defect
        except self._ray.exceptions.RayError as lost:
            self._lose(member, lost)
            raise (Lost if begun else Interrupted) from None
        finally:
            with self._changed:
                member.at_work -= 1
                self._changed.notify()
        if error is not None:
            raise error

    def _take(self, control: JobControl) -> _Member:
        """A place at the actor that has the fewest jobs, once there is one.

        Raises Interrupted where no actor answers, and what `JobControl.check` raises.
        """
        with self._changed:
            while living := self._living():
                member = min(living, key=lambda each: each.at_work)
                if member.at_work < self._concurrency:
                    member.at_work += 1
                    return member
                control.check()
                self._changed.wait(STOP_SECONDS)
        raise Interrupted

    def _lose(self, member: _Member, error: Exception) -> None:
        """Give an actor nothing more until it answers."""
        with self._changed:
            if member.question is None:
                _log.warning("an actor was lost: %s", type(error).__name__)
                member.question = member.actor.ping.remote()
                self._changed.notify_all()

    def _grow(self) -> None:
        """Have an actor for each share of the cluster's processors."""
        resources: Callable[[], dict[str, float]] = self._ray.cluster_resources
        wanted = max(int(resources().get("CPU", 0)) // self._cpus, 1)
        missing = wanted - len(self._members)
        for _ in range(missing):
            # Its parts take care of the processors themselves; a few methods wait for images.
            actor: Any = self._actor.options(
                num_cpus=self._cpus, max_concurrency=self._concurrency + 1, max_restarts=-1
            ).remote(self._open_handlers)
            with self._changed:
                self._members.append(_Member(actor, actor.ping.remote()))
        if missing > 0:
            _log.info("%d actors of %d processors each do jobs", wanted, self._cpus)

    def _hear(self) -> None:
        """See which actors have answered."""
        for member in [each for each in self._members if each.question is not None]:
            if not self._ray.wait([member.question], timeout=0)[0]:
                continue
            try:
                self._ray.get(member.question)
                question = None
            except self._ray.exceptions.ActorDiedError as died:
                # Ray starts it no more, as its service could not be opened: another one tries.
                _log.error("an actor could not begin: %s", type(died).__name__)
                with self._changed:
                    self._members.remove(member)
                continue
            except self._ray.exceptions.RayError:
                question = member.actor.ping.remote()
            with self._changed:
                member.question = question
                self._changed.notify_all()

    def _look(self) -> None:
        while not self._closing.wait(LOOK_SECONDS):
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._grow()
                self._hear()


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
