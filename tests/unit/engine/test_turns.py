"""Who works at an engine next: requests before jobs, and jobs in the end too."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from facerec.engine import turns as module
from facerec.engine.turns import Turns
from facerec.observability import RequestContext, request_context

PATIENCE = 300


@contextmanager
def at_work(*works: Callable[[], object]) -> Iterator[None]:
    """Threads beside the test, which it waits for."""
    threads = [threading.Thread(target=work, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


class Order:
    """Who has had a place, in order."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.names: list[str] = []

    def comes(self, name: str, *, is_job: bool) -> Callable[[], None]:
        """One that waits for a place once."""

        def work() -> None:
            with request_context(RequestContext(is_job=is_job)), self.turns.place():
                self.names.append(name)

        return work


def test_a_request_goes_before_jobs_that_came_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JOB_PATIENCE_SECONDS", PATIENCE)
    turns = Turns(1)
    order = Order(turns)
    jobs = [order.comes(f"job {number}", is_job=True) for number in range(2)]
    held = turns.place()
    held.__enter__()
    with at_work(*jobs, order.comes("request", is_job=False)):
        deadline = time.monotonic() + PATIENCE
        while turns.waiting != (1, 2):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        held.__exit__(None, None, None)
    assert order.names[0] == "request"
    assert sorted(order.names) == ["job 0", "job 1", "request"]


@pytest.mark.parametrize("_round", range(20))
def test_a_place_that_is_left_is_not_taken_from_those_who_wait(_round: int) -> None:
    # Many times over: who waits may wake up in time by chance.
    turns = Turns(1)
    order = Order(turns)
    held = turns.place()
    held.__enter__()
    with at_work(order.comes("waited", is_job=False)):
        deadline = time.monotonic() + PATIENCE
        while turns.waiting != (1, 0):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        held.__exit__(None, None, None)
        order.comes("came later", is_job=False)()
    assert order.names == ["waited", "came later"]


def test_requests_are_served_in_the_order_in_which_they_came() -> None:
    turns = Turns(1)
    order = Order(turns)
    names = [f"request {number}" for number in range(4)]
    held = turns.place()
    held.__enter__()
    with contextlib.ExitStack() as stack:
        for number, name in enumerate(names, 1):
            stack.enter_context(at_work(order.comes(name, is_job=False)))
            deadline = time.monotonic() + PATIENCE
            while turns.waiting != (number, 0):
                assert time.monotonic() < deadline
                time.sleep(0.001)
        held.__exit__(None, None, None)
    assert order.names == names


def test_a_job_has_its_turn_though_requests_always_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JOB_PATIENCE_SECONDS", 0.05)
    turns = Turns(1)
    over = threading.Event()

    def request_on() -> None:
        while not over.is_set():
            with request_context(RequestContext()), turns.place():
                over.wait(0.001)

    order = Order(turns)
    with at_work(request_on, request_on, request_on):
        try:
            with at_work(order.comes("job", is_job=True)):
                pass
        finally:
            over.set()
    assert order.names == ["job"]


def test_every_place_is_used_by_jobs_while_nobody_else_comes() -> None:
    turns = Turns(2)
    both = threading.Barrier(2)

    def work() -> None:
        with request_context(RequestContext(is_job=True)), turns.place():
            both.wait(PATIENCE)

    with at_work(work, work, work, work):
        pass
