"""The driver of `facerec worker --ray`, and what its actors open."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import partial

from facerec.bootstrap import open_service, open_telling, open_worker
from facerec.cli.orders import order, read_order
from facerec.cli.output import note
from facerec.config import Settings
from facerec.engine.heap import share_heaps
from facerec.metastore import open_metastore
from facerec.observability.logs import configure_logging
from facerec.workers.loop import Worker
from facerec.workers.ray import ActorPool, cluster


def drive(settings: Settings, address: str | None, stopping: threading.Event) -> None:
    """Have the actors of a cluster do jobs, until `stopping` is set."""
    own = settings.model_copy(update={"threads": settings.ray_actor_cpus, "workers": 1})
    with (
        contextlib.closing(open_metastore(settings)) as database,
        contextlib.closing(open_telling(settings, database)),
        cluster(address, several_machines=settings.database_url is not None),
    ):
        note(f"Jobs are done by the actors of a Ray cluster, {own.jobs_at_once} at a time each.")
        ActorPool(partial(open_actor, order(own)), cpus=own.threads).run(stopping)


@contextlib.contextmanager
def open_actor(content: bytes) -> Iterator[Worker]:
    """In an actor: the worker of a service with the settings of an order."""
    settings = read_order(content)
    configure_logging(settings.log_level, form=settings.log_format, process="actor")
    share_heaps(settings.threads)
    with open_service(settings) as service:
        yield open_worker(service, settings.jobs_at_once)
