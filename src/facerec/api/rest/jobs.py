"""The queue of jobs over HTTP: how many wait, which were set aside, and trying those again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from facerec.api.rest.person_models import Body
from facerec.jobs.base import JobQueue

Kind = Annotated[str | None, Query(min_length=1, max_length=64)]


class JobCountsModel(BaseModel):
    """How many jobs of a kind there are."""

    kind: str = Field(description="* where the queue does not count by kind (SQS).", examples=["album-image"])
    waiting: int
    at_work: int
    set_aside: int = Field(description="Tried too often, or hopeless; they are kept, with their reason.")
    oldest_seconds: float = Field(description="Age of the oldest that waits; 0 where none does.")


class QueueModel(BaseModel):
    """The queue, by kinds of jobs."""

    kinds: list[JobCountsModel]


class SetAsideModel(BaseModel):
    """A job that is not tried any more, and why."""

    job_id: str
    kind: str
    payload: dict[str, Any] = Field(description="What it is about: a reference, never an image.")
    attempts: int
    reason: str
    set_aside_at: datetime


class SetAsideList(BaseModel):
    """Jobs that were set aside, newest first."""

    jobs: list[SetAsideModel]


class RetryJobsRequest(Body):
    """Jobs that are to be tried again."""

    job_ids: list[Annotated[str, Field(min_length=1, max_length=128)]] = Field(min_length=1, max_length=1000)


class RetriedModel(BaseModel):
    """How many jobs are queued anew."""

    jobs: int


def jobs_router(queue: JobQueue) -> APIRouter:
    """The routes of the queue."""
    router = APIRouter(prefix="/jobs", tags=["jobs"])

    @router.get("")
    def counts() -> QueueModel:
        """How many jobs wait, are at work, and were set aside."""
        return QueueModel(
            kinds=[
                JobCountsModel(
                    kind=kind,
                    waiting=each.waiting,
                    at_work=each.leased,
                    set_aside=each.set_aside,
                    oldest_seconds=round(each.oldest_seconds, 1),
                )
                for kind, each in sorted(queue.counts().items())
            ]
        )

    @router.get("/set-aside")
    def set_aside(kind: Kind = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> SetAsideList:
        """The jobs that are not tried any more, with the reasons."""
        return SetAsideList(
            jobs=[
                SetAsideModel(
                    job_id=job.id,
                    kind=job.kind,
                    payload=dict(job.payload),
                    attempts=job.attempts,
                    reason=job.reason,
                    set_aside_at=datetime.fromtimestamp(job.set_aside_at, UTC),
                )
                for job in queue.list_set_aside(kind, limit=limit)
            ]
        )

    @router.post("/retry")
    def retry(body: RetryJobsRequest) -> RetriedModel:
        """Queue jobs anew that were set aside; ids that are none of these are passed over."""
        return RetriedModel(jobs=queue.put_back(body.job_ids))

    return router
