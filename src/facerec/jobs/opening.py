"""Opens the job queue that the settings name."""

from __future__ import annotations

from facerec.config import Settings
from facerec.db import Database
from facerec.jobs.base import JobQueue
from facerec.jobs.embedded import EmbeddedJobs


def open_jobs(settings: Settings, database: Database) -> JobQueue:
    """Open the queue in `database`."""
    return EmbeddedJobs(database)
