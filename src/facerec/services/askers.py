"""Who asked for a job, and in which request, as its payload carries it from whoever queues it to the logs."""

from __future__ import annotations

from facerec.access import Caller
from facerec.jobs.base import Job
from facerec.observability import RequestContext, request_at_work, tracing

MEMBER = "by"
"""Of the payload: the id of a key, or the user of the operating system."""

REQUEST = "request"
"""Of the payload: the correlation id of the request that it was asked for in."""

WORKER = "worker"
"""In place of an id, for a job that nobody in particular asked for; and the door of all jobs."""


def asker() -> dict[str, str]:
    """The payload's members that name who is asking now (where it is anybody), the request, and its span."""
    request = request_at_work()
    if request is None:
        return {}
    members = {REQUEST: request.request_id}
    if (parent := tracing.here()) is not None:
        members[tracing.PARENT] = parent
    if request.caller is not None and request.caller.key_id not in (None, WORKER):
        members[MEMBER] = str(request.caller.key_id)
    return members


def context_of(job: Job) -> RequestContext:
    """In which a job is done: it is the work of whoever asked for it, and goes on with that request."""
    named, request = job.payload.get(MEMBER), job.payload.get(REQUEST)
    caller = Caller(key_id=named if isinstance(named, str) and named else WORKER)
    return RequestContext(
        request_id=request if isinstance(request, str) and request else job.id,
        caller=caller,
        door=WORKER,
        operation=job.kind,
        is_job=True,
    )
