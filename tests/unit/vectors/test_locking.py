"""The lock of readers and writers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from facerec.vectors.locking import SharedLock

PATIENCE = 30.0


def test_readers_hold_it_together() -> None:
    lock = SharedLock()
    together = threading.Barrier(3)

    def read() -> None:
        with lock.reading():
            together.wait(PATIENCE)  # broken unless all three are inside at once

    with ThreadPoolExecutor(3) as threads:
        for reading in [threads.submit(read) for _ in range(3)]:
            reading.result()


def test_a_writer_holds_it_alone() -> None:
    lock = SharedLock()
    inside: list[str] = []
    seen: list[list[str]] = []

    def write(_: int) -> None:
        with lock.writing():
            inside.append("writer")
            seen.append(list(inside))
            inside.remove("writer")

    def read(_: int) -> None:
        with lock.reading():
            seen.append(["reader", *inside])

    with ThreadPoolExecutor(8) as threads:
        for _ in range(200):
            threads.submit(write, 0)
            threads.submit(read, 0)
    assert len(seen) == 400
    assert all(entry in (["writer"], ["reader"]) for entry in seen)


def test_a_waiting_writer_goes_before_new_readers() -> None:
    lock = SharedLock()
    order: list[str] = []
    first_inside, let_go = threading.Event(), threading.Event()

    def first() -> None:
        with lock.reading():
            first_inside.set()
            assert let_go.wait(PATIENCE)

    def write() -> None:
        with lock.writing():
            order.append("writer")

    def late() -> None:
        with lock.reading():
            order.append("late reader")

    with ThreadPoolExecutor(3) as threads:
        threads.submit(first)
        assert first_inside.wait(PATIENCE)
        writing = threads.submit(write)
        while not lock._waiting_writers:
            pass
        reading = threads.submit(late)
        let_go.set()
        writing.result(PATIENCE)
        reading.result(PATIENCE)
    assert order == ["writer", "late reader"]


def test_an_error_inside_lets_go() -> None:
    lock = SharedLock()
    for hold in (lock.reading, lock.writing):
        try:
            with hold():
                raise ValueError
        except ValueError:
            pass
    with lock.writing():
        pass
