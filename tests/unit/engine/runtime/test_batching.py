import logging
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from facerec.engine.runtime.batching import Batcher
from facerec.errors import Cancelled, FacerecError, Overloaded
from facerec.observability import RequestContext, request_context

WAIT = 20
"""Seconds after which a wait is a failure; no test waits that long when all is well."""


class Gate:
    """A `run` that doubles its items, and can be held shut so that a batch stays at work."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        self.open.set()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.entered.release()
        assert self.open.wait(WAIT)
        if -1 in items:
            raise ValueError("minus one")
        if -2 in items:
            raise SystemExit("the runner is killed")
        return [2 * item for item in items]


@contextmanager
def batcher(gate: Gate, *, max_batch: int = 4, max_queue: int = 100) -> Iterator[Batcher[int, int]]:
    one = Batcher(gate, max_batch=max_batch, max_queue=max_queue, name="test-batcher")
    try:
        yield one
    finally:
        gate.open.set()
        one.close()
    assert "test-batcher" not in {thread.name for thread in threading.enumerate()}


def hold(gate: Gate, one: Batcher[int, int]) -> Future[int]:
    """Start a batch of one item and keep it at work."""
    gate.open.clear()
    first = one.submit(0)
    assert gate.entered.acquire(timeout=WAIT)
    return first


def test_results_come_in_order() -> None:
    with batcher(Gate()) as one:
        assert one.call(list(range(11))) == list(range(0, 22, 2))
        assert one.call([]) == []


def test_an_idle_batcher_runs_an_item_at_once() -> None:
    gate = Gate()
    with batcher(gate) as one:
        for item in range(5):
            assert one.submit(item).result(WAIT) == 2 * item
    assert gate.batches == [[0], [1], [2], [3], [4]]


def test_what_comes_while_a_batch_runs_goes_together() -> None:
    gate = Gate()
    with batcher(gate) as one:
        first = hold(gate, one)
        later = [one.submit(item) for item in range(1, 7)]
        gate.open.set()
        assert first.result(WAIT) == 0
        assert [future.result(WAIT) for future in later] == [2, 4, 6, 8, 10, 12]
    assert gate.batches == [[0], [1, 2, 3, 4], [5, 6]]


def test_many_threads_get_their_own_results() -> None:
    with batcher(Gate(), max_queue=1000) as one, ThreadPoolExecutor(16) as pool:
        calls = [[n, n + 1, n + 2] for n in range(300)]
        assert list(pool.map(one.call, calls)) == [[2 * n for n in items] for items in calls]


def test_a_full_queue_refuses_at_once_and_recovers() -> None:
    gate = Gate()
    with batcher(gate, max_queue=2) as one:
        hold(gate, one)
        waiting = [one.submit(1), one.submit(2)]
        with pytest.raises(Overloaded):
            one.submit(3)
        with pytest.raises(Overloaded):
            one.call([3])
        gate.open.set()
        assert [future.result(WAIT) for future in waiting] == [2, 4]
        assert one.call([3]) == [6]


def test_a_call_larger_than_the_queue_is_taken_whole() -> None:
    with batcher(Gate(), max_queue=2) as one:
        assert one.call(list(range(50))) == list(range(0, 100, 2))


def test_a_bad_item_fails_alone() -> None:
    gate = Gate()
    with batcher(gate) as one:
        hold(gate, one)
        futures = [one.submit(item) for item in (1, -1, 3)]
        gate.open.set()
        assert futures[0].result(WAIT) == 2
        assert futures[2].result(WAIT) == 6
        with pytest.raises(ValueError, match="minus one"):
            futures[1].result(WAIT)
        assert one.call([4]) == [8]
    assert gate.batches == [[0], [1, -1, 3], [1], [-1], [3], [4]]


def test_a_call_raises_the_error_of_its_item() -> None:
    with batcher(Gate()) as one, pytest.raises(ValueError, match="minus one"):
        one.call([1, -1, 2])


def test_a_caller_that_has_gone_is_skipped() -> None:
    gate = Gate()
    gone = RequestContext()
    with batcher(gate) as one:
        hold(gate, one)
        with request_context(gone):
            forgotten = one.submit(1)
        kept = one.submit(2)
        gone.caller_gone.set()
        gate.open.set()
        assert kept.result(WAIT) == 4
        with pytest.raises(Cancelled):
            forgotten.result(WAIT)
        with request_context(gone), pytest.raises(Cancelled):
            one.submit(3)
    assert gate.batches == [[0], [2]]


def test_a_cancelled_future_is_skipped() -> None:
    gate = Gate()
    with batcher(gate) as one:
        hold(gate, one)
        cancelled, kept = one.submit(1), one.submit(2)
        assert cancelled.cancel()
        gate.open.set()
        assert kept.result(WAIT) == 4
    assert gate.batches == [[0], [2]]


def test_close_finishes_what_runs_and_fails_what_waits() -> None:
    gate = Gate()
    with batcher(gate, max_queue=1_000_000_000) as one:
        running = hold(gate, one)
        waiting = one.submit(1)
        closing = threading.Thread(target=one.close)
        closing.start()
        # The closed state is what refuses further work: wait for it, then let the batch end.
        while True:
            try:
                one.submit(2).cancel()
            except FacerecError:
                break
        gate.open.set()
        closing.join(WAIT)
        assert not closing.is_alive()
        assert running.result(WAIT) == 0
        with pytest.raises(FacerecError, match="closed before"):
            waiting.result(WAIT)
        with pytest.raises(FacerecError, match="closing"):
            one.call([1])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_runner_leaves_nobody_waiting(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    with caplog.at_level(logging.ERROR), batcher(gate) as one:
        hold(gate, one)
        futures = [one.submit(item) for item in (-2, 1, 2, 3, 4, 5)]
        gate.open.set()
        for future in futures:
            with pytest.raises(FacerecError, match="closed before"):
                future.result(WAIT)
        with pytest.raises(FacerecError, match="closing"):
            one.submit(1)
    assert "stopped" in caplog.text


def test_too_few_results_are_an_error_and_not_a_wait() -> None:
    one: Batcher[int, int] = Batcher(lambda items: [], max_batch=4, max_queue=4)
    with pytest.raises(RuntimeError, match="0 results"):
        one.call([1, 2])
    one.close()
    one.close()


def test_limits_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Batcher(lambda items: items, max_batch=0, max_queue=1)
