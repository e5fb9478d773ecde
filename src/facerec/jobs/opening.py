"""Opens the job queue that the settings name."""

from __future__ import annotations

from facerec.config import Settings
from facerec.db import Database
from facerec.jobs.base import JobQueue
from facerec.jobs.embedded import EmbeddedJobs
from facerec.jobs.keys import JobKeys
from facerec.jobs.sqs import NewObjectJob, SqsJobs
from facerec.jobs.sqs_queues import SqsQueues


def open_jobs(
    settings: Settings, database: Database, new_object_job: NewObjectJob, holder: str | None = None
) -> JobQueue:
    """Open the queue of `SQS_QUEUE_NAME`, or the one in `database` without it.

    new_object_job: the job for an object that S3 tells of in the queue. holder: what the queue is to know
    this process by (`new_holder`), where it knows any. An SQS that is away is no error yet:
    what needs it raises JobQueueUnavailable until it is back. Raises ConfigurationError for a name that no
    queue can have.
    """
    if settings.sqs_queue_name is None:
        return EmbeddedJobs(database, holder)
    queues = SqsQueues(
        settings.sqs_queue_name,
        region=settings.aws_region,
        endpoint_url=settings.sqs_endpoint_url,
        credentials=settings.aws_credentials,
    )
    return SqsJobs(queues, JobKeys(database), new_object_job, wait_seconds=settings.sqs_wait_seconds)
