"""The worker over a real queue: what it does with jobs that end, fail, hang and kill it, and how it stops."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import pytest

from facerec.db import Database
from facerec.errors import (
    DatabaseUnavailable,
    DiskFull,
    DiskReadOnly,
    FacerecError,
    InvalidImage,
    JobQueueUnavailable,
    Overloaded,
)
from facerec.jobs.base import Job, NewJob
from facerec.jobs.embedded import EmbeddedJobs
from facerec.metastore import open_at
from facerec.workers import handling, loop
from facerec.workers.handling import Fate, Handler, JobControl, Lost
from facerec.workers.loop import Worker, WorkerPolicy, WorkerThread

KIND = "task"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with contextlib.closing(open_at(tmp_path)) as opened:
        yield opened


@pytest.fixture
def queue(database: Database) -> EmbeddedJobs:
    return EmbeddedJobs(database)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (loop, "IDLE_SECONDS", 0.01),
        (loop, "FIRST_REST_SECONDS", 0.05),
        (handling, "FIRST_PAUSE_SECONDS", 0.01),
    ):
        monkeypatch.setattr(module, name, value)


@contextlib.contextmanager
def working(queue: EmbeddedJobs, handler: Handler, **policy: object) -> Iterator[Worker]:
    given = {"threads": 2, "batch": 4} | policy
    worker = Worker(queue, {KIND: handler}, WorkerPolicy(**given))  # type: ignore[arg-type]
    with contextlib.closing(WorkerThread(worker)):
        yield worker


def put(queue: EmbeddedJobs, *numbers: int) -> None:
    queue.put([NewJob(kind=KIND, payload={"number": number}) for number in numbers])


def number_of(job: Job) -> int:
    found = job.payload["number"]
    assert isinstance(found, int)
    return found


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def open_jobs_of(queue: EmbeddedJobs) -> int:
    return sum(each.waiting + each.leased for each in queue.counts().values())


def test_every_job_is_done_once_several_at_a_time(queue: EmbeddedJobs) -> None:
    put(queue, *range(30))
    together = threading.Barrier(2, timeout=20)
    had: list[int] = []

    def handle(job: Job, _: JobControl) -> None:
        if number_of(job) < 2:
            together.wait()
        had.append(number_of(job))

    with working(queue, handle) as worker:
        eventually(lambda: open_jobs_of(queue) == 0)
    assert sorted(had) == list(range(30))
    assert worker.tally.fates == {Fate.DONE: 30}


def test_the_backlog_stays_in_the_queue(queue: EmbeddedJobs) -> None:
    put(queue, *range(30))
    stop = threading.Event()

    def handle(_job: Job, _control: JobControl) -> None:
        stop.wait(20)

    with working(queue, handle):
        eventually(lambda: queue.counts()[KIND].leased >= 4)
        time.sleep(0.1)
        assert queue.counts()[KIND].leased <= 2 + 4
        stop.set()


def test_a_job_over_which_workers_died_is_done_alone(queue: EmbeddedJobs) -> None:
    put(queue, *range(4))
    for _ in range(2):  # two that died: of what they held, the first two were done
        held = queue.lease([KIND], 10, seconds=0.01)
        time.sleep(0.05)
    queue.done(held[:2])
    put(queue, *range(4, 20))
    at_work: set[int] = set()
    most: dict[int, int] = {}

    def handle(job: Job, _: JobControl) -> None:
        at_work.add(number_of(job))
        time.sleep(0.03)
        most[number_of(job)] = len(at_work)
        at_work.remove(number_of(job))

    with working(queue, handle, threads=4, batch=8):
        eventually(lambda: open_jobs_of(queue) == 0)
    assert sorted(most) == list(range(2, 20))
    assert most[2] == most[3] == 1
    assert max(most.values()) > 1


def test_what_is_suspect_waits_until_nothing_else_is_at_work(queue: EmbeddedJobs) -> None:
    put(queue, 2)
    queue.lease([KIND], 1, seconds=0.01)
    time.sleep(0.05)
    queue.lease([KIND], 1, seconds=0.5)
    put(queue, 1)
    go_on, at_work, alone = threading.Event(), set[int](), list[bool]()

    def handle(job: Job, _: JobControl) -> None:
        at_work.add(number_of(job))
        if number_of(job) == 1:
            go_on.wait(20)
        else:
            alone.append(at_work == {2})
        at_work.remove(number_of(job))

    with working(queue, handle, threads=4):
        eventually(lambda: at_work == {1})
        time.sleep(0.8)
        assert (at_work, alone) == ({1}, [])
        go_on.set()
        eventually(lambda: open_jobs_of(queue) == 0)
    assert alone == [True]


@pytest.mark.parametrize("error", [Overloaded(), ValueError("a defect")])
def test_what_may_pass_is_tried_again_and_set_aside_in_the_end(queue: EmbeddedJobs, error: Exception) -> None:
    put(queue, 1)
    attempts: list[int] = []

    def handle(job: Job, _: JobControl) -> None:
        attempts.append(job.attempt)
        raise error

    with working(queue, handle, attempts=3):
        eventually(lambda: len(queue.list_set_aside()) == 1)
    assert attempts == [1, 2, 3]
    reason = queue.list_set_aside()[0].reason
    assert "(3 attempts)" in reason
    assert "a defect" not in reason  # an unknown error's text may hold anything


def test_what_cannot_pass_is_set_aside_at_once_with_its_reason(queue: EmbeddedJobs) -> None:
    put(queue, 1, 2)

    def handle(job: Job, _: JobControl) -> None:
        if number_of(job) == 1:
            raise InvalidImage("no picture")

    with working(queue, handle):
        eventually(lambda: open_jobs_of(queue) == 0)
    assert [(each.attempts, each.reason) for each in queue.list_set_aside()] == [(1, "no picture")]


@pytest.mark.parametrize("outage", [DatabaseUnavailable, DiskFull, DiskReadOnly])
def test_an_outage_counts_no_attempt_and_rests_the_worker(
    queue: EmbeddedJobs, outage: type[FacerecError]
) -> None:
    put(queue, 1)
    away = iter([True] * 4)
    attempts: list[int] = []

    def handle(job: Job, _: JobControl) -> None:
        attempts.append(job.attempt)
        if next(away, False):
            raise outage

    begin = time.monotonic()
    with working(queue, handle, attempts=2):
        eventually(lambda: open_jobs_of(queue) == 0)
    assert attempts == [1] * 5
    assert queue.list_set_aside() == []
    assert time.monotonic() - begin > 0.05 * (1 + 2 + 4 + 8)


def test_a_job_that_kills_its_workers_is_set_aside(queue: EmbeddedJobs) -> None:
    put(queue, 1)
    for _ in range(3):
        queue.lease([KIND], 1, seconds=0.001)
        time.sleep(0.01)
    with working(queue, lambda *_: pytest.fail("not again"), attempts=3):
        eventually(lambda: open_jobs_of(queue) == 0)
    assert "begun 3 times" in queue.list_set_aside()[0].reason


def test_leases_are_prolonged_while_a_job_is_at_work(queue: EmbeddedJobs) -> None:
    put(queue, 1)
    begun = threading.Event()

    def handle(_job: Job, _control: JobControl) -> None:
        begun.set()
        time.sleep(1.0)

    with working(queue, handle, lease_seconds=0.4) as worker:
        begun.wait(20)
        for _ in range(8):
            assert queue.lease([KIND], 1, seconds=60) == []
            time.sleep(0.1)
        eventually(lambda: worker.tally.fates[Fate.DONE] == 1)


def test_a_handler_learns_that_its_lease_was_lost(queue: EmbeddedJobs) -> None:
    put(queue, 1)
    lost = threading.Event()

    def handle(job: Job, control: JobControl) -> None:
        queue.done([job])  # as another worker would have it done
        eventually(lambda: control.stopping)
        lost.set()
        control.check()

    with working(queue, handle, lease_seconds=0.2) as worker:
        assert lost.wait(20)
    assert open_jobs_of(queue) == 0
    assert worker.tally.fates == {Fate.LEFT: 1}, "the queue is told nothing by this one"


def test_jobs_that_take_long_leave_room_for_others(database: Database, queue: EmbeddedJobs) -> None:
    queue.put([NewJob(kind="long", payload={"number": number}) for number in range(4)])
    begun, go_on = threading.Semaphore(0), threading.Event()
    long_ones, short_ones = [], []

    def long_work(job: Job, _: JobControl) -> None:
        long_ones.append(number_of(job))
        begun.release()
        go_on.wait(20)

    policy = WorkerPolicy(threads=4, batch=4, long_kinds=frozenset({"long"}), long_jobs=2)
    worker = Worker(
        queue, {"long": long_work, KIND: lambda job, _: short_ones.append(number_of(job))}, policy
    )
    with contextlib.closing(WorkerThread(worker)):
        assert begun.acquire(timeout=20)
        assert begun.acquire(timeout=20)
        put(queue, *range(8))
        eventually(lambda: len(short_ones) == 8)
        assert long_ones == [0, 1]
        counted = queue.counts()["long"]
        assert (counted.waiting, counted.leased) == (2, 2)
        go_on.set()
        eventually(lambda: open_jobs_of(queue) == 0)
    assert long_ones == [0, 1, 2, 3]


def test_a_worker_that_stops_finishes_what_is_begun_and_gives_back_the_rest(queue: EmbeddedJobs) -> None:
    put(queue, *range(10))
    begun, go_on = threading.Semaphore(0), threading.Event()
    had: list[int] = []

    def handle(job: Job, control: JobControl) -> None:
        begun.release()
        if number_of(job) == 0:
            eventually(lambda: control.stopping)
            control.check()
        go_on.wait(20)
        had.append(number_of(job))

    worker = Worker(queue, {KIND: handle}, WorkerPolicy(threads=2, batch=4))
    thread = WorkerThread(worker)
    for _ in range(2):
        assert begun.acquire(timeout=20)
    threading.Timer(0.2, go_on.set).start()
    thread.close()
    assert had == [1]
    jobs = queue.lease([KIND], 20, seconds=60)
    assert sorted(number_of(job) for job in jobs) == [0, *range(2, 10)]
    assert {job.attempt for job in jobs} == {1}


def test_a_job_that_is_anothers_by_now_is_left_until_its_lease_ends(queue: EmbeddedJobs) -> None:
    put(queue, 1)
    attempts: list[int] = []

    def handle(job: Job, _control: JobControl) -> None:
        attempts.append(job.attempt)
        if job.attempt == 1:
            raise Lost

    with working(queue, handle, lease_seconds=0.3) as worker:
        eventually(lambda: open_jobs_of(queue) == 0)
    assert attempts == [1, 2]
    assert worker.tally.fates == {Fate.LEFT: 1, Fate.DONE: 1}


class AwayNowAndThen(EmbeddedJobs):
    """A queue of which every third call fails."""

    calls = 0

    def _sometimes(self) -> None:
        self.calls += 1
        if self.calls % 3 == 0:
            raise JobQueueUnavailable

    def lease(self, kinds: Collection[str], limit: int, *, seconds: float) -> list[Job]:
        self._sometimes()
        return super().lease(kinds, limit, seconds=seconds)

    def done(self, jobs: Sequence[Job]) -> None:
        self._sometimes()
        super().done(jobs)


def test_a_queue_that_is_away_now_and_then_loses_nothing(database: Database) -> None:
    queue = AwayNowAndThen(database)
    put(queue, *range(5))
    had: set[int] = set()
    with working(queue, lambda job, _: had.add(number_of(job)), lease_seconds=0.3, attempts=50):
        eventually(lambda: open_jobs_of(queue) == 0)
    assert had == set(range(5))


def test_pauses_grow_and_end() -> None:
    pauses = [handling.pause_before(attempt) for attempt in (1, 2, 3, 1000)]
    assert pauses[0] < pauses[1] < pauses[2] < pauses[3] == handling.LONGEST_PAUSE_SECONDS


def test_no_error_is_both_an_outage_and_hopeless() -> None:
    assert all(issubclass(each, FacerecError) for each in (*handling.OUTAGES, *handling.PASSING))
