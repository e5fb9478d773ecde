"""The driver of `facerec worker --ray`, and what its actors open."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import partial

from facerec.bootstrap import open_queue, open_service, open_telling, worker_policy
from facerec.cli.output import note
from facerec.cli.supervisor import order
from facerec.cli.worker import read_order
from facerec.config import Settings
from facerec.engine.heap import share_heaps
from facerec.metastore import open_metastore
from facerec.observability.logs import configure_logging
from facerec.services.videos.service import job_kind
from facerec.services.videos.uploads import node_of
from facerec.workers.handling import Handlers
from facerec.workers.loop import Worker
from facerec.workers.ray import ActorPool, cluster
from facerec.workers.tasks import IMAGE_KINDS, handlers

MOST_AT_WORK = 1024
"""Jobs that a driver has at work in the whole cluster."""


def drive(settings: Settings, address: str | None, *, per_processor: int, stopping: threading.Event) -> None:
    """Lease jobs and have the actors of a cluster do them, until `stopping` is set."""
    own = settings.model_copy(update={"threads": settings.ray_actor_cpus, "workers": 1})
    kinds = [*IMAGE_KINDS, job_kind(None)]
    if address is None:  # videos that were sent to this machine are on no other
        kinds.append(job_kind(node_of(settings.videos_folder)))
    of = own.threads * per_processor
    with (
        open_queue(settings) as queue,
        contextlib.closing(open_metastore(settings)) as database,
        contextlib.closing(open_telling(settings, database)),
        cluster(address, several_machines=settings.database_url is not None),
        contextlib.closing(
            ActorPool(
                partial(open_handlers, order(own, 1)),
                cpus=own.threads,
                concurrency=of,
            )
        ) as pool,
    ):
        note(f"Jobs are done by the actors of a Ray cluster, {of} at a time each.")
        policy = worker_policy(own, MOST_AT_WORK, kinds, of=of)
        Worker(queue, pool.handlers(kinds), policy, capacity=lambda: pool.capacity).run(stopping)


@contextlib.contextmanager
def open_handlers(content: bytes) -> Iterator[Handlers]:
    """In an actor: the handlers of a service with the settings of an order."""
    settings, _ = read_order(content)
    configure_logging(settings.log_level, form=settings.log_format, process="actor")
    share_heaps(settings.threads)
    with open_service(settings) as service:
        yield handlers(service)
