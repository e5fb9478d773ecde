"""Puts items that wait into the queue, a job for each."""

from __future__ import annotations

from collections.abc import Callable

from facerec.db import Database
from facerec.jobs.base import JobQueue, NewJob
from facerec.metastore.items import Items

DISPATCHED_AT_ONCE = 100
"""Jobs that are queued in one call: where a process dies between queueing and noting it, the next one queues
so many again. SQS takes ten a request, so that a thousand may take longer than a worker lives."""


def queue_jobs(
    database: Database, queue: JobQueue, items: Items, owner: int, job: Callable[[int], NewJob]
) -> None:
    """Queue a job for each item of an owner that waits and has none.

    job: that of the item of a number. Broken off, it leaves some with a job that is not noted: those get
    another one, so a job that comes twice has to change nothing. Raises JobQueueUnavailable, StorageError.
    """
    while True:
        with database.read() as connection:
            numbers = items.unqueued(connection, owner, DISPATCHED_AT_ONCE)
        if not numbers:
            return
        queue.put([job(number) for number in numbers])
        with database.write() as connection:
            items.mark_queued(connection, owner, numbers)
