"""Jobs in SQS: three queues. The first two differ in priority, the third keeps what was set aside.

NAME has the fresh jobs and what S3 tells of new objects, NAME-backlog the patient ones; the first is emptied
before the second is asked. (SQS has no priorities, and an attribute would not do: messages are received as
SQS likes.) A lease is a message's visibility timeout, and prolonged as such. NAME-dead is the dead-letter
queue of both.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from facerec.jobs.base import (
    ALL_KINDS,
    SUSPECT_ATTEMPTS,
    Job,
    JobCounts,
    NewJob,
    Payload,
    Priority,
    SetAsideJob,
    encode,
)
from facerec.jobs.keys import JobKeys
from facerec.jobs.s3_events import CreatedObject, created_objects
from facerec.jobs.sqs_queues import BATCH, MOST_DELAY_SECONDS, SqsQueues

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

DEAD = "DEAD"
"""Name of the dead-letter queue beside those of the priorities."""

REASON = "FacerecReason"
"""Attribute of a message in the dead-letter queue."""

OTHERS_SECONDS = 5
"""Before a job of a kind that was not asked for shows again: a newer version's, while an older one still
works."""

LOOK_SECONDS = 20
"""How long a look through the dead-letter queue hides what it has seen."""

_log = logging.getLogger(__name__)

NewObjectJob = Callable[[CreatedObject], NewJob | None]
"""The job for an object that was made in S3; None: it is no image. Raises ValueError that tells why not."""


@dataclass(frozen=True, slots=True)
class _Envelope:
    """What a message of ours holds."""

    id: str
    kind: str
    payload: Payload
    queued_at: float
    attempts: int = 0
    """Those that SQS does not count: it counts how often this message was received."""
    ready_at: float = 0.0
    """Where SQS cannot delay it for so long."""
    key: str | None = None
    suspect: bool = False
    """See `Job.suspect`; a message that is sent anew has not been received yet."""

    def body(self) -> str:
        """As a message's body; what is rare is left out, so that older versions read the others."""
        fields = {name: getattr(self, name) for name in self.__slots__ if name != "suspect" or self.suspect}
        return json.dumps({"facerec": 1, **fields, "payload": dict(self.payload)})


class SqsJobs:
    """A `JobQueue` in SQS."""

    def __init__(
        self, queues: SqsQueues, keys: JobKeys, new_object_job: NewObjectJob, *, wait_seconds: int = 1
    ) -> None:
        """keys: of the open jobs. wait_seconds: how long SQS holds a question while it has nothing."""
        self._queues = queues
        self._keys = keys
        self._new_object_job = new_object_job
        self._wait_seconds = wait_seconds
        self._deadlines: dict[str, float] = {}
        """Ends of leases (time.monotonic) by receipt: SQS may prolong one that has run out."""

    def put(self, jobs: Sequence[NewJob]) -> None:
        """See `JobQueue.put`."""
        for job in jobs:
            encode(job)
        free = self._keys.reserve(jobs)
        now = time.time()
        for priority in Priority:
            new = [
                (
                    _Envelope(
                        id=str(uuid.uuid4()),
                        kind=job.kind,
                        payload=job.payload,
                        queued_at=now,
                        ready_at=now + job.delay_seconds if job.delay_seconds > MOST_DELAY_SECONDS else 0.0,
                        key=job.key,
                    ),
                    job.delay_seconds,
                )
                for job in free
                if job.priority == priority
            ]
            self._queues.send(priority.name, [(envelope.body(), delay) for envelope, delay in new])
        self._keys.take(free)

    def lease(self, kinds: Collection[str], limit: int, *, seconds: float) -> list[Job]:
        """See `JobQueue.lease`. Where there is nothing SQS may wait a moment for a fresh job."""
        if not kinds or limit < 1:
            return []
        now = time.monotonic()
        for receipt in [each for each, end in self._deadlines.items() if end < now]:
            del self._deadlines[receipt]
        jobs: list[Job] = []
        for priority in Priority:
            while len(jobs) < limit:
                messages = self._receive(priority.name, limit - len(jobs), seconds)
                jobs += self._read(priority.name, messages, kinds, now + seconds)
                if not messages:
                    break
        if not jobs and self._wait_seconds:
            name = Priority.FRESH.name
            messages = self._receive(name, limit, seconds, wait_seconds=self._wait_seconds)
            jobs = self._read(name, messages, kinds, time.monotonic() + seconds)
        return jobs

    def extend(self, jobs: Sequence[Job], *, seconds: float) -> frozenset[str]:
        """See `JobQueue.extend`."""
        now = time.monotonic()
        held = [job for job in jobs if self._deadlines.get(job.receipt, 0.0) > now]
        lost = {job.id for job in jobs} - {job.id for job in held}
        for queue, some in _by_queue(held):
            failed = self._queues.show_after(queue, [_Receipt.of(job).handle for job in some], seconds)
            for place, job in enumerate(some):
                if place in failed:
                    lost.add(job.id)
                else:
                    self._deadlines[job.receipt] = now + seconds
        return frozenset(lost)

    def done(self, jobs: Sequence[Job]) -> None:
        """See `JobQueue.done`."""
        for queue, some in _by_queue(jobs):
            self._queues.delete(queue, [_Receipt.of(job).handle for job in some])
        self._forget(jobs)
        keys = [(job.kind, _Receipt.of(job).key) for job in jobs]
        self._keys.free([(kind, key) for kind, key in keys if key is not None])

    def retry(self, job: Job, *, reason: str, delay_seconds: float) -> None:
        """See `JobQueue.retry`. SQS keeps no reason, and counts every receipt, so the job is sent anew."""
        told = replace(job, suspect=False)
        self._send_anew([told], counted=0, delay_seconds=min(delay_seconds, MOST_DELAY_SECONDS))

    def release(self, jobs: Sequence[Job]) -> None:
        """See `JobQueue.release`. SQS counts every receipt, so the job is sent anew."""
        self._send_anew(jobs, counted=-1, delay_seconds=0.0)

    def bury(self, holder: str) -> int:
        """See `JobQueue.bury`. SQS does not know who holds what."""
        return 0

    def set_aside(self, job: Job, *, reason: str) -> None:
        """See `JobQueue.set_aside`."""
        receipt = _Receipt.of(job)
        self._bury(receipt.queue, receipt.handle, _envelope(job, attempts=job.attempt).body(), reason)
        self._forget([job])
        if receipt.key is not None:
            self._keys.free([(job.kind, receipt.key)])

    def list_set_aside(self, kind: str | None = None, *, limit: int = 100) -> list[SetAsideJob]:
        """See `JobQueue.list_set_aside`: of those that SQS shows."""
        with self._dead_letters() as letters:
            jobs = [_set_aside_job(message) for message in letters]
        found = [job for job in jobs if kind in (None, job.kind)]
        return sorted(found, key=lambda job: job.set_aside_at, reverse=True)[:limit]

    def put_back(self, ids: Collection[str]) -> int:
        """See `JobQueue.put_back`."""
        wanted, count = set(ids), 0
        if not wanted:
            return 0
        with self._dead_letters() as letters:
            for message in list(letters):
                if _set_aside_job(message).id in wanted:
                    envelope = _read_envelope(message)
                    body = (
                        message["Body"]
                        if envelope is None
                        else replace(envelope, attempts=0, suspect=False).body()
                    )
                    self._queues.send(Priority.FRESH.name, [(body, 0.0)])
                    self._queues.delete(DEAD, [message["ReceiptHandle"]])
                    letters.remove(message)
                    count += 1
        return count

    def counts(self) -> Mapping[str, JobCounts]:
        """See `JobQueue.counts`: of all kinds together."""
        waiting = leased = 0
        for priority in Priority:
            shown, hidden = self._queues.count(priority.name)
            waiting, leased = waiting + shown, leased + hidden
        counted = JobCounts(waiting=waiting, leased=leased, set_aside=sum(self._queues.count(DEAD)))
        return {ALL_KINDS: counted}

    def ping(self) -> None:
        """See `JobQueue.ping`."""
        self._queues.count(Priority.FRESH.name)

    def close(self) -> None:
        """See `JobQueue.close`."""
        self._queues.close()

    def _receive(
        self, queue: str, limit: int, seconds: float, *, wait_seconds: int = 0
    ) -> list[MessageTypeDef]:
        return self._queues.receive(queue, min(limit, BATCH), seconds, wait_seconds=wait_seconds)

    def _read(
        self, queue: str, messages: Sequence[MessageTypeDef], kinds: Collection[str], end: float
    ) -> list[Job]:
        """The jobs of messages. What is none of ours is set aside, and events of S3 become jobs."""
        jobs, later = [], []
        for message in messages:
            envelope = _read_envelope(message)
            if envelope is None:
                envelope = self._of_event(queue, message)
            if envelope is None:
                continue
            receipt = _Receipt(queue, message["ReceiptHandle"], envelope.key)
            received = int(message.get("Attributes", {}).get("ApproximateReceiveCount", "1"))
            job = Job(
                id=envelope.id,
                kind=envelope.kind,
                payload=envelope.payload,
                attempt=envelope.attempts + received,
                queued_at=envelope.queued_at,
                receipt=receipt.text(),
                suspect=envelope.suspect or received >= SUSPECT_ATTEMPTS,
            )
            delay = max(envelope.ready_at - time.time(), 0.0 if envelope.kind in kinds else OTHERS_SECONDS)
            if delay > 0:
                unchanged = replace(envelope, attempts=job.attempt - 1, suspect=job.suspect)
                later.append((receipt.handle, unchanged.body(), min(delay, MOST_DELAY_SECONDS)))
            else:
                self._deadlines[job.receipt] = end
                jobs.append(job)
        # Sent anew, as SQS counts every receipt.
        self._queues.send(queue, [(body, delay) for _, body, delay in later])
        self._queues.delete(queue, [handle for handle, _, _ in later])
        return jobs

    def _of_event(self, queue: str, message: MessageTypeDef) -> _Envelope | None:
        """The job of a message that S3 has sent; None where the message is done with."""
        handle, body = message["ReceiptHandle"], message.get("Body", "")
        content = _parsed(body)
        objects = None if content is None else created_objects(content)
        if objects is None:
            self._bury(queue, handle, body, "It is no job, and no event of S3.")
            return None
        try:
            found = [job for each in objects if (job := self._new_object_job(each)) is not None]
        except ValueError as error:
            self._bury(queue, handle, body, str(error))
            return None
        if len(found) == 1:
            sent = float(message.get("Attributes", {}).get("SentTimestamp", "0")) / 1000
            return _Envelope(message["MessageId"], found[0].kind, found[0].payload, sent)
        self.put(found)
        self._queues.delete(queue, [handle])
        return None

    def _bury(self, queue: str, handle: str, body: str, reason: str) -> None:
        """Move a message to the dead-letter queue."""
        _log.warning("a message is set aside: %s", reason)
        self._queues.send(DEAD, [(body, 0.0)], attribute=(REASON, reason))
        self._queues.delete(queue, [handle])

    @contextlib.contextmanager
    def _dead_letters(self) -> Iterator[list[MessageTypeDef]]:
        """All messages of the dead-letter queue; those left in the list show again afterwards."""
        letters: dict[str, MessageTypeDef] = {}
        while messages := self._receive(DEAD, BATCH, LOOK_SECONDS):
            before = len(letters)
            letters |= {message["MessageId"]: message for message in messages}
            if len(letters) == before:
                break
        left = list(letters.values())
        try:
            yield left
        finally:
            self._queues.show_after(DEAD, [message["ReceiptHandle"] for message in left], 0)

    def _send_anew(self, jobs: Sequence[Job], *, counted: int, delay_seconds: float) -> None:
        """Put leased jobs into other messages; `counted`: is added to the attempts so far."""
        for queue, some in _by_queue(jobs):
            anew = [_envelope(job, attempts=job.attempt + counted).body() for job in some]
            self._queues.send(queue, [(body, delay_seconds) for body in anew])
            self._queues.delete(queue, [_Receipt.of(job).handle for job in some])
        self._forget(jobs)

    def _forget(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._deadlines.pop(job.receipt, None)


@dataclass(frozen=True, slots=True)
class _Receipt:
    """What the queue has to know of a lease."""

    queue: str
    handle: str
    key: str | None

    def text(self) -> str:
        """As a job carries it."""
        return json.dumps([self.queue, self.handle, self.key])

    @classmethod
    def of(cls, job: Job) -> _Receipt:
        """The receipt of a job."""
        return cls(*json.loads(job.receipt))


def _envelope(job: Job, *, attempts: int) -> _Envelope:
    return _Envelope(
        job.id,
        job.kind,
        job.payload,
        job.queued_at,
        attempts=attempts,
        key=_Receipt.of(job).key,
        suspect=job.suspect,
    )


def _by_queue(jobs: Sequence[Job]) -> Iterator[tuple[str, list[Job]]]:
    """The jobs of each queue."""
    for queue, some in groupby(
        sorted(jobs, key=lambda job: _Receipt.of(job).queue), key=lambda job: _Receipt.of(job).queue
    ):
        yield queue, list(some)


def _parsed(body: str) -> dict[str, Any] | None:
    """The JSON object of a body; None for anything else."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _read_envelope(message: MessageTypeDef) -> _Envelope | None:
    """What one of our own messages holds; None for a message of others."""
    content = _parsed(message.get("Body", ""))
    if content is None or content.pop("facerec", None) != 1:
        return None
    try:
        envelope = _Envelope(**content)
    except TypeError:
        return None
    plain = (str, int, float, bool, type(None))
    sound = (
        all(isinstance(each, str) for each in (envelope.id, envelope.kind))
        and isinstance(envelope.payload, dict)
        and all(isinstance(value, plain) for value in envelope.payload.values())
        and all(
            isinstance(each, int | float) and math.isfinite(each)
            for each in (envelope.queued_at, envelope.attempts, envelope.ready_at)
        )
        and isinstance(envelope.key, str | None)
        and isinstance(envelope.suspect, bool)
    )
    return envelope if sound else None


def _set_aside_job(message: MessageTypeDef) -> SetAsideJob:
    envelope = _read_envelope(message)
    attribute = message.get("MessageAttributes", {}).get(REASON)
    reason = None if attribute is None else attribute.get("StringValue")
    attributes = message.get("Attributes", {})
    return SetAsideJob(
        id=message["MessageId"] if envelope is None else envelope.id,
        kind="unknown" if envelope is None else envelope.kind,
        payload={"body": message.get("Body", "")[:500]} if envelope is None else envelope.payload,
        attempts=0 if envelope is None else envelope.attempts,
        reason=reason or "SQS moved it here: it was received too often.",
        set_aside_at=float(attributes.get("SentTimestamp", "0")) / 1000,
    )
