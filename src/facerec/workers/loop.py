"""The worker: leases jobs, has its threads do them, and tells the queue what became of each.

One thread leases and settles, one prolongs the leases, and the others work. No more jobs are held than are at
work and one batch more, so the backlog stays in the queue, where every worker may have it. A job over which
workers may have died is done with no other at work, so that it takes no other with it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from facerec.errors import FacerecError, JobQueueUnavailable
from facerec.jobs.base import Job, JobQueue
from facerec.observability import metrics
from facerec.workers.handling import (
    OUTAGES,
    Fate,
    Handlers,
    JobControl,
    judge,
    pause_before,
)

IDLE_SECONDS = 0.5
"""Between two looks at an empty queue."""

BEAT = 3
"""Leases are prolonged so many times in the time they last: two beats may be missed."""

GATHERING_SECONDS = 0.25
"""Longest time for which the end of a job waits for the ends of others, to be told with them."""

FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 1.0, 30.0
"""How long no job is leased after a server was away, doubled while it stays so."""

REPORT_SECONDS = 60.0
"""Between two lines in the log that tell how the worker is."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPolicy:
    """How a worker works."""

    threads: int
    """Jobs at work at once."""
    batch: int = 10
    """Most jobs leased at once."""
    lease_seconds: float = 30.0
    """How long the jobs of a worker that was killed are held up."""
    attempts: int = 5
    """Times that a job is tried before it is set aside."""
    long_kinds: frozenset[str] = frozenset()
    """Kinds of jobs that take minutes, and the processor for themselves."""
    long_jobs: int = 1
    """How many of the jobs at work may be of such kinds."""


@dataclass(slots=True, eq=False)
class _Held:
    """A job under lease."""

    job: Job
    control: JobControl
    future: Future[None] | None = None
    error: BaseException | None = None


@dataclass(slots=True)
class Tally:
    """What became of the jobs of a worker."""

    fates: Counter[Fate] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        seconds = max(time.monotonic() - self.began, 1e-3)
        done = self.fates[Fate.DONE]
        return (
            f"{done} jobs done ({done / seconds:.1f} a second), {self.fates[Fate.RETRY]} to be tried again, "
            f"{self.fates[Fate.RELEASE]} given back, {self.fates[Fate.SET_ASIDE]} set aside"
        )


class Worker:
    """Does the jobs of a queue until it is told to stop."""

    def __init__(self, queue: JobQueue, handlers: Handlers, policy: WorkerPolicy) -> None:
        self._queue = queue
        self._handlers = handlers
        self._policy = policy
        self._held: set[_Held] = set()
        self._lock = threading.Lock()
        self._finished: SimpleQueue[_Held] = SimpleQueue()
        self._rest = 0.0
        self._rests_until = 0.0
        self._asks_at = 0.0
        """When the queue may be asked for jobs again (time.monotonic)."""
        self._makes_room = False
        """Nothing is leased while anything is held: a suspect job is to be, or is, at work alone."""
        self.tally = Tally()

    def run(self, stopping: threading.Event) -> None:
        """Work until `stopping` is set; then finish what is at work and give back what is not begun.

        While the queue does not answer it is asked again and again.
        """
        beats_over = threading.Event()
        heart = threading.Thread(target=self._beat, args=(beats_over,), name="facerec-leases", daemon=True)
        heart.start()
        try:
            with ThreadPoolExecutor(self._policy.threads, thread_name_prefix="facerec-job") as pool:
                self._work(pool, stopping)
                self._give_back_unbegun()
                while self._held:
                    self._settle(IDLE_SECONDS)
        finally:
            beats_over.set()
            heart.join()
            self._held.clear()
            _log.info("the worker ends: %s", self.tally)

    def _work(self, pool: ThreadPoolExecutor, stopping: threading.Event) -> None:
        """Lease, have done and settle."""
        reported = time.monotonic()
        while not stopping.is_set():
            for job in self._lease():
                self._begin(pool, job, stopping)
            if self._held:
                self._settle(IDLE_SECONDS)
            else:
                stopping.wait(max(self._asks_at - time.monotonic(), 0.0))
            if time.monotonic() - reported >= REPORT_SECONDS:
                reported = time.monotonic()
                _log.info("the worker works: %s, %d held", self.tally, len(self._held))

    def _lease(self) -> list[Job]:
        """Jobs to begin; none while enough are held, or there were none just now."""
        if len(self._held) > self._policy.threads or time.monotonic() < self._asks_at:
            return []
        if self._makes_room and self._held:
            return []
        long_kinds = self._policy.long_kinds
        room = self._policy.long_jobs - sum(held.job.kind in long_kinds for held in self._held)
        kinds = self._handlers.keys() if room > 0 else self._handlers.keys() - long_kinds
        try:
            leased = self._queue.lease(kinds, self._policy.batch, seconds=self._policy.lease_seconds)
        except JobQueueUnavailable as error:
            _log.warning("no jobs can be had: %s", error)
            self._take_rest()
            return []
        if not leased:
            self._asks_at = time.monotonic() + IDLE_SECONDS
        suspects = [job for job in leased if job.suspect]
        self._makes_room = bool(suspects)
        if suspects:
            beyond = [job for job in leased if self._held or job is not suspects[0]]
        else:
            beyond = [job for job in leased if job.kind in long_kinds][max(room, 0) :]
        if beyond:
            self._tell(lambda: self._queue.release(beyond))
        return [job for job in leased if job not in beyond]

    def _begin(self, pool: ThreadPoolExecutor, job: Job, stopping: threading.Event) -> None:
        held = _Held(job, JobControl(stopping))
        with self._lock:
            self._held.add(held)
        if job.attempt > self._policy.attempts:
            # Those before raised nothing: they took their workers with them.
            reason = f"It was begun {self._policy.attempts} times and never ended."
            self._tell(lambda: self._queue.set_aside(job, reason=reason))
            self._close(held, Fate.SET_ASIDE)
            return
        held.future = pool.submit(self._do, held)

    def _do(self, held: _Held) -> None:
        """In a thread of the pool: one job."""
        try:
            held.control.check()  # told to stop, it begins no more
            kind = held.job.kind
            if held.job.attempt == 1:
                waited = max(time.time() - held.job.queued_at, 0.0)
                metrics.job_wait_seconds.labels(kind).observe(waited)
            with metrics.job_seconds.labels(kind).time():
                self._handlers[kind](held.job, held.control)
        except BaseException as error:  # noqa: BLE001 - every error has its consequence for the job
            held.error = error
        self._finished.put(held)

    def _settle(self, patience: float) -> None:
        """Wait up to `patience` seconds for a job to end, and tell the queue of all that ended."""
        ended = self._ended(patience)
        done = [held for held in ended if held.error is None]
        if done:
            self._tell(lambda: self._queue.done([held.job for held in done]))
            self._rest = 0.0
        for held in done:
            self._close(held, Fate.DONE)
        for held in ended:
            if held.error is not None:
                self._settle_failed(held, held.error)

    def _ended(self, patience: float) -> list[_Held]:
        """The jobs that have ended, after up to `patience` seconds for the first of them.

        While more are held than can be at work no thread waits: then ends are gathered for a moment.
        """
        ended: list[_Held] = []
        with contextlib.suppress(Empty):
            ended.append(self._finished.get(timeout=patience))
            until = time.monotonic() + GATHERING_SECONDS
            while len(self._held) - len(ended) > self._policy.threads:
                ended.append(self._finished.get(timeout=max(until - time.monotonic(), 0.0)))
            while True:
                ended.append(self._finished.get_nowait())
        return ended

    def _settle_failed(self, held: _Held, error: BaseException) -> None:
        job = held.job
        fate, reason = judge(error, job.attempt, self._policy.attempts)
        if not isinstance(error, FacerecError) and fate not in (Fate.RELEASE, Fate.LEFT):
            _log.error("a job %s was not done (attempt %d)", job.kind, job.attempt, exc_info=error)
        elif reason:
            _log.warning("a job %s was not done (attempt %d): %s", job.kind, job.attempt, reason)
        if isinstance(error, OUTAGES):
            self._take_rest()
        if fate is Fate.SET_ASIDE:
            self._tell(lambda: self._queue.set_aside(job, reason=reason))
        elif fate is Fate.RETRY:
            pause = pause_before(job.attempt)
            self._tell(lambda: self._queue.retry(job, reason=reason, delay_seconds=pause))
        elif fate is Fate.RELEASE:
            self._tell(lambda: self._queue.release([job]))
        self._close(held, fate)

    def _give_back_unbegun(self) -> None:
        """Let other workers have the jobs that no thread has begun."""
        unbegun = [held for held in self._held if held.future is not None and held.future.cancel()]
        if unbegun:
            self._tell(lambda: self._queue.release([held.job for held in unbegun]))
        for held in unbegun:
            self._close(held, Fate.RELEASE)

    def _close(self, held: _Held, fate: Fate) -> None:
        with self._lock:
            self._held.discard(held)
        self.tally.fates[fate] += 1
        metrics.jobs_finished.labels(held.job.kind, fate.name.lower()).inc()

    def _tell(self, say: Callable[[], object]) -> None:
        """Tell the queue something. Where it does not hear, the lease runs out and the job is done again."""
        try:
            say()
        except JobQueueUnavailable as error:
            _log.warning("the queue was not told what became of jobs: %s", error)
            self._take_rest()

    def _take_rest(self) -> None:
        """Lease nothing for a while: longer, while what was away stays away."""
        now = time.monotonic()
        if now < self._rests_until:  # others of the jobs that were at work when it went away
            return
        self._rest = min(max(self._rest * 2, FIRST_REST_SECONDS), LONGEST_REST_SECONDS)
        self._rests_until = self._asks_at = now + self._rest

    def _beat(self, over: threading.Event) -> None:
        """In a thread: prolong the leases of what is held, again and again."""
        seconds = self._policy.lease_seconds
        while not over.wait(seconds / BEAT):
            with self._lock:
                held = {each.job.id: each for each in self._held}
            try:
                lost = self._queue.extend([each.job for each in held.values()], seconds=seconds)
            except JobQueueUnavailable as error:
                _log.warning("leases were not prolonged: %s", error)
                continue
            for job_id in lost:
                held[job_id].control.lose()


class WorkerThread:
    """A worker in a thread beside other work, from now until it is closed."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="facerec-jobs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finish the jobs at work, and give back the others."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._worker.run(self._stopping)
            except Exception:  # noqa: BLE001 - a defect must not end all jobs that follow
                _log.exception("the worker ended, and begins anew")
                self._stopping.wait(LONGEST_REST_SECONDS)
