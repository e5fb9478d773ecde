"""The budget of decoded pictures: who comes in, who waits, and what gives room back."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from facerec.engine.admission import Claim, PictureBudget
from facerec.engine.base import Picture
from facerec.errors import Cancelled
from facerec.observability import RequestContext, request_context


def in_thread(work: Callable[[], Claim]) -> Future[Claim]:
    """Begin work in a thread of its own, which ends with it and outlives no failed test."""
    future: Future[Claim] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - handed to the test
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def waits(future: Future[Claim]) -> bool:
    """Whether the work has not come in within a moment."""
    try:
        future.result(0.3)
    except TimeoutError:
        return True
    return False


def test_pictures_come_in_until_the_room_is_taken() -> None:
    budget = PictureBudget(100)
    first = in_thread(lambda: budget.enter(60)).result(5)
    in_thread(lambda: budget.enter(40)).result(5)
    third = in_thread(lambda: budget.enter(1))
    assert waits(third)
    assert budget.used == 100
    budget.leave(first)
    third.result(5)
    assert budget.used == 41


def test_one_picture_alone_always_comes_in() -> None:
    budget = PictureBudget(100)
    large = in_thread(lambda: budget.enter(1000)).result(5)
    small = in_thread(lambda: budget.enter(1))
    assert waits(small)
    budget.leave(large)
    small.result(5)


def test_small_pictures_do_not_overtake_a_large_one() -> None:
    budget = PictureBudget(100)
    inside = in_thread(lambda: budget.enter(50)).result(5)
    large = in_thread(lambda: budget.enter(80))
    assert waits(large)
    small = in_thread(lambda: budget.enter(10))
    assert waits(small)
    budget.leave(inside)
    large.result(5)
    small.result(5)
    assert budget.used == 90


def test_a_thread_gets_its_second_picture_at_once() -> None:
    """Two threads of two pictures each would wait for one another for ever otherwise."""
    budget = PictureBudget(100)
    both = threading.Barrier(2)

    def compare() -> Claim:
        budget.enter(50)
        both.wait(5)
        return budget.enter(50)

    futures = [in_thread(compare), in_thread(compare)]
    for future in futures:
        future.result(5)
    assert budget.used == 200


def test_a_caller_that_has_gone_leaves_the_queue() -> None:
    budget = PictureBudget(100)
    inside = in_thread(lambda: budget.enter(100)).result(5)
    context = RequestContext()

    def ask() -> Claim:
        with request_context(context):
            return budget.enter(90)

    gone = in_thread(ask)
    behind = in_thread(lambda: budget.enter(20))
    assert waits(gone)
    context.caller_gone.set()
    with pytest.raises(Cancelled):
        gone.result(5)
    assert waits(behind)
    budget.leave(inside)
    behind.result(5)
    assert budget.used == 20


def test_a_forgotten_picture_gives_its_room_back() -> None:
    budget = PictureBudget(100)
    picture = Picture(np.zeros((5, 5, 3), np.uint8))
    budget.keep(budget.enter(75), picture)
    assert budget.used == 75
    del picture
    assert budget.used == 0


def test_a_picture_in_a_circle_gives_its_room_back_when_garbage_is_collected() -> None:
    budget = PictureBudget(100)
    picture = Picture(np.zeros((5, 5, 3), np.uint8))
    budget.keep(budget.enter(75), picture)
    circle: list[object] = [picture]
    circle.append(circle)
    del picture, circle
    gc.collect()
    assert budget.used == 0


def test_nothing_is_lost_among_many_threads() -> None:
    budget = PictureBudget(50)
    random = np.random.default_rng(2)
    amounts = random.integers(1, 60, 400).tolist()
    seen: list[int] = []

    def work(amount: int) -> None:
        picture = Picture(np.zeros((1, 1, 3), np.uint8))
        budget.keep(budget.enter(amount), picture)
        seen.append(budget.used)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, amounts))
    assert budget.used == 0
    assert max(seen) <= 60


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        PictureBudget(0)
