"""A queue of jobs, as the rooms above see it.

A job is delivered at least once: whoever leases it holds it until a deadline, prolongs the lease while it
works, and says what became of it. A holder that dies says nothing, and the job is leased again. So a job is a
reference to work whose state is in the database ("image 17 of album 4"), and doing it twice does no harm.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from facerec.errors import InvalidParameter

Payload = Mapping[str, str | int | float | bool | None]
"""What a job is about, as JSON values. Never image bytes, never an embedding."""


ALL_KINDS = "*"
"""Under this a queue counts its jobs that cannot count them by kind."""

MOST_KEY = 255
"""Letters of a job's key."""

MOST_BYTES = 64 * 1024
"""Bytes of a job's payload as JSON. It is a reference, and queues have bounds too (SQS: 256 KiB)."""


SUSPECT_ATTEMPTS = 3
"""The attempt from which a job is suspect, where the one before ended without a word: one worker may have
died by chance."""


class Priority(IntEnum):
    """Which jobs come first; within one, the older ones."""

    FRESH = 0
    """Somebody waits for it: what was just uploaded."""
    BACKLOG = 1
    """Large and patient: a whole album, an import, what is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job to be queued."""

    kind: str
    """Names the handler, such as album-image; at most 64 characters."""
    payload: Payload
    key: str | None = None
    """While a job of this kind with this key is queued or leased, putting it again does nothing."""
    priority: Priority = Priority.FRESH
    delay_seconds: float = 0.0
    """Not leased before so many seconds have passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A leased job. `receipt` proves the lease to the queue, and is good until the lease has run out."""

    id: str
    kind: str
    payload: Payload
    attempt: int
    """1 for the first delivery."""
    queued_at: float
    """Seconds since the epoch."""
    receipt: str = field(repr=False)
    suspect: bool = False
    """Workers died while they had it at work with others, so it may be what they died of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCounts:
    """Jobs of one kind: waiting (delayed ones too), leased, and set aside after too many attempts."""

    waiting: int = 0
    leased: int = 0
    set_aside: int = 0
    oldest_seconds: float = 0.0
    """Age of the oldest that waits; 0.0 where none does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAsideJob:
    """A job that is not tried any more, and why."""

    id: str
    kind: str
    payload: Payload
    attempts: int
    reason: str
    set_aside_at: float
    """Seconds since the epoch."""


def new_holder() -> str:
    """A name for one who leases jobs, which nobody else has: 16 letters."""
    return secrets.token_hex(8)


def encode(job: NewJob) -> str:
    """The payload of a job as JSON. Raises InvalidParameter for what no queue takes."""
    if not 0 < len(job.kind) <= 64 or len(job.key or "") > MOST_KEY or not job.delay_seconds >= 0:
        raise InvalidParameter(
            "A job has a kind of 1 to 64 letters, a key of up to 255, and no negative delay."
        )
    payload = json.dumps(dict(job.payload))
    if len(payload) > MOST_BYTES:
        raise InvalidParameter(
            f"A job of the kind {job.kind} has {len(payload)} bytes; it may have {MOST_BYTES}."
        )
    return payload


class JobQueue(Protocol):
    """Safe to call from many threads and processes. Every method raises JobQueueUnavailable: try again."""

    def put(self, jobs: Sequence[NewJob]) -> None:
        """Queue jobs; on disk (or with the queue's server) when this returns."""

    def lease(self, kinds: Collection[str], limit: int, *, seconds: float) -> list[Job]:
        """Up to `limit` jobs of these kinds, for `seconds`; none where none waits. Does not wait for
        any, but for a moment at the queue's server."""

    def extend(self, jobs: Sequence[Job], *, seconds: float) -> frozenset[str]:
        """Prolong leases to `seconds` from now; the ids of those that were lost: run out, or done."""

    def done(self, jobs: Sequence[Job]) -> None:
        """They are done and forgotten. A lease that was lost is no error: the work was done all the same."""

    def retry(self, job: Job, *, reason: str, delay_seconds: float) -> None:
        """Lease it again after the delay; the reason is kept for whoever looks."""

    def release(self, jobs: Sequence[Job]) -> None:
        """Give back leases of work not begun (a worker that is told to stop): no attempt is counted."""

    def bury(self, holder: str) -> int:
        """End the leases of a holder that is known to be dead, so that nobody waits for their end; how many.

        0 for a queue that does not know who holds what.
        """

    def set_aside(self, job: Job, *, reason: str) -> None:
        """Try it no more, and keep it with the reason: SQS's dead-letter queue, or a row."""

    def list_set_aside(self, kind: str | None = None, *, limit: int = 100) -> list[SetAsideJob]:
        """The jobs set aside, newest first."""

    def put_back(self, ids: Collection[str]) -> int:
        """Queue jobs that were set aside anew, with no attempt counted; how many there were."""

    def counts(self) -> Mapping[str, JobCounts]:
        """How many there are, by kind. SQS counts all of them together (ALL_KINDS), and approximately."""

    def ping(self) -> None:
        """Return when it answers; cheap."""

    def close(self) -> None:
        """Let go of connections; what is leased runs out."""
