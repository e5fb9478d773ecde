"""Who asked for a job, as its payload carries it from whoever queues it to the worker's audit log."""

from __future__ import annotations

from facerec.access import Caller
from facerec.jobs.base import Job
from facerec.observability import RequestContext, current_request

MEMBER = "by"
"""Of the payload: the id of a key, or the user of the operating system."""

WORKER = "worker"
"""In place of an id, for a job that nobody in particular asked for; and the door of all jobs."""


def asker() -> dict[str, str]:
    """The payload's member that names who is asking now; {} where it is nobody in particular."""
    caller = current_request().caller
    return {} if caller is None or caller.key_id in (None, WORKER) else {MEMBER: str(caller.key_id)}


def context_of(job: Job) -> RequestContext:
    """In which a job is done: it is the work of whoever asked for it."""
    named = job.payload.get(MEMBER)
    caller = Caller(key_id=named if isinstance(named, str) and named else WORKER)
    return RequestContext(request_id=job.id, caller=caller)
