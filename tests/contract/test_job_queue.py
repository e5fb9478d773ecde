"""What every job queue does, wherever it keeps its jobs."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa

from facerec.config import read_settings
from facerec.errors import InvalidParameter
from facerec.jobs import sqs
from facerec.jobs.base import ALL_KINDS, Job, JobCounts, JobQueue, NewJob, Payload, Priority
from facerec.jobs.opening import open_jobs
from facerec.metastore import open_metastore

THREADS = 8
LONG = 60.0

KIND = "task"
OTHER = "other-task"

BACKENDS = ("SQLite", "PostgreSQL", "SQS")


@dataclass(frozen=True)
class Place:
    """Where jobs are kept: opens an empty queue."""

    empty: Callable[[], JobQueue]
    briefly: float
    """Seconds of a lease or delay that a test waits for."""
    most_doubles: int
    """Of 200 jobs, those that threads at once may have twice."""


@pytest.fixture(scope="module", params=BACKENDS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    settings: dict[str, object] = {"data_dir": tmp_path_factory.mktemp("jobs")}
    with contextlib.ExitStack() as stack:
        if request.param == "SQS":
            settings["sqs_endpoint_url"] = request.getfixturevalue("s3_url")
            settings["sqs_wait_seconds"] = 0
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setattr(sqs, "OTHERS_SECONDS", 1)
            patch.setenv("AWS_ACCESS_KEY_ID", "test")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        if request.param == "PostgreSQL":
            server = request.getfixturevalue("postgres_server")
            settings["database_url"] = stack.enter_context(server.database())
        read = read_settings(**settings)
        database = stack.enter_context(contextlib.closing(open_metastore(read)))

        def empty() -> JobQueue:
            with database.write() as connection:
                for table in ("jobs", "jobs_set_aside", "job_keys"):
                    connection.execute(sa.text(f"DELETE FROM {table}"))
            own = {"sqs_queue_name": f"jobs-{uuid.uuid4()}" if request.param == "SQS" else None}
            return open_jobs(read.model_copy(update=own), database, lambda _: None)

        # SQS counts in whole seconds.
        exact = request.param != "SQS"
        yield Place(empty, briefly=0.3 if exact else 1.0, most_doubles=0 if exact else 10)


@pytest.fixture
def queue(place: Place) -> Iterator[JobQueue]:
    with contextlib.closing(place.empty()) as opened:
        yield opened


@pytest.fixture
def briefly(place: Place) -> float:
    return place.briefly


@pytest.fixture
def most_doubles(place: Place) -> int:
    return place.most_doubles


def task(number: int = 0, **given: object) -> NewJob:
    return NewJob(**{"kind": KIND, "payload": {"number": number}} | given)  # type: ignore[arg-type]


def numbers(jobs: list[Job]) -> list[object]:
    return [job.payload["number"] for job in jobs]


def leased(queue: JobQueue, *, seconds: float = LONG, kind: str = KIND) -> Job:
    """The one job that waits."""
    (job,) = wait_for(lambda: queue.lease([kind], 10, seconds=seconds))
    return job


def wait_for(look: Callable[[], list[Job]], patience: float = 10.0) -> list[Job]:
    """The jobs as soon as there are any."""
    deadline = time.monotonic() + patience
    while not (found := look()):
        assert time.monotonic() < deadline, "no job came"
        time.sleep(0.05)
    return found


def drained(queue: JobQueue, count: int) -> list[Job]:
    """Lease until so many were had."""
    jobs: list[Job] = []
    while len(jobs) < count:
        jobs += wait_for(lambda: queue.lease([KIND], 10, seconds=LONG))
    return jobs


def counted(queue: JobQueue, kind: str) -> JobCounts:
    """The jobs of a kind, or of all where the queue cannot tell."""
    counts = queue.counts()
    return counts.get(kind) or counts.get(ALL_KINDS) or JobCounts()


def open_jobs_of(queue: JobQueue) -> tuple[int, int]:
    """How many wait, and how many are leased."""
    return counted(queue, KIND).waiting, counted(queue, KIND).leased


def test_a_job_comes_back_as_it_was_put_and_is_gone_when_it_is_done(queue: JobQueue) -> None:
    payload: Payload = {
        "text": "übel \N{SNOWMAN}",
        "number": 17,
        "share": 0.5,
        "whole": True,
        "nothing": None,
    }
    before = time.time()
    queue.put([NewJob(kind=KIND, payload=payload)])
    job = leased(queue)
    assert (job.kind, job.payload, job.attempt) == (KIND, payload, 1)
    assert before - 5 < job.queued_at < time.time() + 5
    assert queue.lease([KIND], 10, seconds=LONG) == []
    queue.done([job])
    assert queue.lease([KIND], 10, seconds=LONG) == []
    assert open_jobs_of(queue) == (0, 0)


def test_only_the_kinds_that_are_asked_for_are_leased(queue: JobQueue) -> None:
    queue.put([task(1), task(2, kind=OTHER)])
    assert numbers([leased(queue, kind=OTHER)]) == [2]
    assert numbers([leased(queue)]) == [1]
    assert queue.lease([], 10, seconds=LONG) == []


def test_a_lease_that_runs_out_gives_the_job_to_the_next_one(queue: JobQueue, briefly: float) -> None:
    queue.put([task()])
    first = leased(queue, seconds=briefly)
    second = leased(queue)
    assert (second.id, second.attempt) == (first.id, 2)


def test_a_job_is_suspect_once_workers_died_with_it(queue: JobQueue, briefly: float) -> None:
    queue.put([task()])
    assert [leased(queue, seconds=briefly).suspect for _ in range(3)] == [False, False, True]
    again = leased(queue)
    assert (again.attempt, again.suspect) == (4, True)
    queue.release([again])  # not begun: nothing has become known of it
    again = leased(queue)
    assert (again.attempt, again.suspect) == (4, True)


def test_a_job_that_failed_with_a_reason_is_not_suspect(queue: JobQueue) -> None:
    queue.put([task()])
    for attempt in range(1, 5):
        job = leased(queue)
        assert (job.attempt, job.suspect) == (attempt, False)
        queue.retry(job, reason="it rained", delay_seconds=0)


def test_a_lease_that_is_extended_holds(queue: JobQueue, briefly: float) -> None:
    queue.put([task()])
    job = leased(queue, seconds=briefly)
    assert queue.extend([job], seconds=LONG) == frozenset()
    time.sleep(briefly * 1.5)
    assert queue.lease([KIND], 10, seconds=LONG) == []
    queue.done([job])


def test_leases_that_were_lost_are_told(queue: JobQueue) -> None:
    queue.put([task(1), task(2)])
    jobs = drained(queue, 2)
    queue.done(jobs[:1])
    assert queue.extend(jobs, seconds=LONG) == {jobs[0].id}
    assert queue.extend([], seconds=LONG) == frozenset()


def test_a_lease_that_ran_out_is_told_to_its_first_holder(queue: JobQueue, briefly: float) -> None:
    queue.put([task()])
    job = leased(queue, seconds=briefly)
    time.sleep(briefly * 1.5)
    assert queue.extend([job], seconds=LONG) == {job.id}


def test_work_that_was_done_after_its_lease_is_done(queue: JobQueue, briefly: float) -> None:
    queue.put([task()])
    job = leased(queue, seconds=briefly)
    time.sleep(briefly * 1.5)
    queue.done([job])  # nobody has leased it since
    assert queue.lease([KIND], 10, seconds=LONG) == []


def test_one_job_of_a_key_is_open_at_a_time(queue: JobQueue) -> None:
    queue.put([task(1, key="a"), task(2, key="a"), task(3, key="b")])
    queue.put([task(4, key="a"), task(5, key="a", kind=OTHER)])
    jobs = drained(queue, 2)
    assert sorted(map(str, numbers(jobs))) == ["1", "3"]
    queue.put([task(6, key="a")])  # one is leased
    assert queue.lease([KIND], 10, seconds=LONG) == []
    queue.done(jobs)
    queue.put([task(7, key="a")])
    assert numbers([leased(queue)]) == [7]


def test_a_key_is_free_once_its_job_is_set_aside(queue: JobQueue) -> None:
    queue.put([task(1, key="a")])
    queue.set_aside(leased(queue), reason="no")
    queue.put([task(2, key="a")])
    assert numbers([leased(queue)]) == [2]


def test_fresh_jobs_overtake_the_backlog(queue: JobQueue) -> None:
    queue.put([task(number, priority=Priority.BACKLOG) for number in range(5)])
    queue.put([task(number) for number in range(5, 8)])
    assert sorted(map(str, numbers(wait_for(lambda: queue.lease([KIND], 3, seconds=LONG))))) == [
        "5",
        "6",
        "7",
    ]
    assert len(drained(queue, 5)) == 5


def test_a_delayed_job_waits(queue: JobQueue, briefly: float) -> None:
    queue.put([task(delay_seconds=briefly)])
    assert queue.lease([KIND], 10, seconds=LONG) == []
    begin = time.monotonic()
    leased(queue)
    assert time.monotonic() - begin < 5


def test_a_job_is_tried_again_after_its_delay(queue: JobQueue, briefly: float) -> None:
    queue.put([task()])
    job = leased(queue)
    queue.retry(job, reason="it rained", delay_seconds=briefly)
    assert queue.lease([KIND], 10, seconds=LONG) == []
    again = leased(queue)
    assert (again.id, again.attempt) == (job.id, 2)


def test_a_job_given_back_waits_at_once_and_counts_no_attempt(queue: JobQueue) -> None:
    queue.put([task(1), task(2)])
    for _ in range(3):
        jobs = drained(queue, 2)
        assert [job.attempt for job in jobs] == [1, 1]
        queue.release(jobs)
    queue.release([])


def test_jobs_set_aside_are_kept_with_their_reasons_and_can_be_put_back(queue: JobQueue) -> None:
    queue.put([task(1), task(2), task(3, kind=OTHER)])
    for job in [*drained(queue, 2), leased(queue, kind=OTHER)]:
        queue.set_aside(job, reason=f"poison {job.payload['number']}")
    assert queue.lease([KIND, OTHER], 10, seconds=LONG) == []
    aside = {job.payload["number"]: job for job in queue.list_set_aside()}
    assert {number: job.reason for number, job in aside.items()} == {n: f"poison {n}" for n in (1, 2, 3)}
    assert all(job.attempts == 1 and job.set_aside_at > time.time() - 60 for job in aside.values())
    assert [job.kind for job in queue.list_set_aside(OTHER)] == [OTHER]
    assert len(queue.list_set_aside(limit=1)) == 1
    assert counted(queue, KIND).set_aside in (2, 3)

    assert queue.put_back([aside[1].id, "nobody"]) == 1
    job = leased(queue)
    assert (job.payload["number"], job.attempt) == (1, 1)
    assert {each.payload["number"] for each in queue.list_set_aside()} == {2, 3}
    assert queue.put_back([]) == 0


def test_jobs_are_counted_by_kind(queue: JobQueue) -> None:
    assert open_jobs_of(queue) == (0, 0)
    queue.put([task(number) for number in range(5)])
    wait_for(lambda: queue.lease([KIND], 2, seconds=LONG))
    assert open_jobs_of(queue) == (3, 2)
    assert counted(queue, KIND).set_aside == 0
    assert 0 <= counted(queue, KIND).oldest_seconds < 60


def test_threads_lease_no_job_twice_while_leases_hold(queue: JobQueue, most_doubles: int) -> None:
    count = 200
    queue.put([task(number) for number in range(count)])
    had: Counter[object] = Counter()
    lock = threading.Lock()

    def work(_: int) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            jobs = queue.lease([KIND], 7, seconds=LONG)
            with lock:
                had.update(numbers(jobs))
                if had.total() >= count:
                    return
            queue.done(jobs)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))
    assert set(had) == set(range(count))
    # SQS promises at least one delivery, and no more than that: of requests at once moto, too, gives one
    # message to two now and then.
    assert had.total() - count <= most_doubles


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": ""},
        {"kind": "k" * 65},
        {"key": "k" * 256},
        {"delay_seconds": -1.0},
        {"payload": {"a": "x" * 70_000}},
    ],
)
def test_a_job_that_no_queue_takes_is_refused_clearly(queue: JobQueue, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter, match="job"):
        queue.put([task(0, **wrong)])
    queue.put([])
    assert queue.lease([KIND], 10, seconds=LONG) == []
