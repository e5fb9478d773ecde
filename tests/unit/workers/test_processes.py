"""Processes that are kept alive."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from facerec.workers import processes
from facerec.workers.processes import FIRST_PAUSE_SECONDS, SHORT_LIFE_SECONDS, KeptProcesses


class Fake:
    """A process that ends when it is told to."""

    def __init__(self, *, stubborn: bool = False) -> None:
        self.code: int | None = None
        self.asked = 0
        self._stubborn = stubborn

    def poll(self) -> int | None:
        return self.code

    def terminate(self) -> None:
        self.asked += 1
        if not self._stubborn:
            self.code = 0

    def kill(self) -> None:
        self.code = -9


class Clock:
    """A time that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(processes, "time", clock)
    return clock


def run(steps: list[Callable[[], object]], started: list[Fake], *, at_once: bool = False) -> None:
    """Keep one process while the steps are done, one between two looks."""

    def start() -> Fake:
        started.append(Fake())
        return started[-1]

    def over(_seconds: float) -> bool:
        if not steps:
            return True
        steps.pop(0)()
        return False

    killing = threading.Event()
    if at_once:
        killing.set()
    KeptProcesses({"one": start}).run(over, killing)


def test_one_that_is_killed_after_a_while_is_replaced_at_once(clock: Clock) -> None:
    started: list[Fake] = []

    def die() -> None:
        clock.now += SHORT_LIFE_SECONDS
        started[-1].kill()

    run([die, lambda: None, die, lambda: None], started)
    assert len(started) == 3
    assert [process.code for process in started] == [-9, -9, 0]


def test_pauses_after_short_lives_double(clock: Clock) -> None:
    started: list[Fake] = []

    def wait(seconds: float) -> Callable[[], None]:
        def step() -> None:
            clock.now += seconds

        return step

    def die_at_once() -> None:
        started[-1].kill()

    counts: list[int] = []

    def count() -> None:
        counts.append(len(started))

    steps: list[Callable[[], object]] = []
    for pause in (FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, 4 * FIRST_PAUSE_SECONDS):
        steps += [die_at_once, wait(pause * 0.9), count, wait(pause * 0.2), count]
    run(steps, started)
    assert counts == [1, 2, 2, 3, 3, 4]


def test_in_the_end_each_is_asked_once(clock: Clock) -> None:
    started: list[Fake] = []
    run([lambda: None] * 3, started)
    (process,) = started
    assert (process.asked, process.code) == (1, 0)


def test_one_that_does_not_end_is_killed_when_told_so() -> None:
    at_once = threading.Event()
    at_once.set()
    process = Fake(stubborn=True)
    KeptProcesses({"one": lambda: process}).run(lambda _seconds: True, at_once)
    assert (process.asked, process.code) == (1, -9)


def test_those_that_run_end_where_another_can_not_be_started() -> None:
    process = Fake()

    def fail() -> Fake:
        raise OSError("no more processes")

    with pytest.raises(OSError, match="no more"):
        KeptProcesses({"one": lambda: process, "two": fail}).run(lambda _seconds: True, threading.Event())
    assert process.code == 0


@pytest.mark.parametrize(
    ("end", "code"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", -9)]
)
def test_a_forked_process_tells_how_it_ended(end: str, code: int) -> None:
    # In a process of its own, for one that forks may have no threads.
    program = (
        "from facerec.workers.processes import ForkedProcess\n"
        f"process = ForkedProcess(target=exec, args=({end!r},))\n"
        "process.start()\nprocess.join(30)\nprint(process.poll())"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert int(ended.stdout) == code
