"""Searches of several threads: which of them share a scan, and what becomes of errors."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from facerec.domain import RowKey, VectorHit
from facerec.errors import StorageError
from facerec.vectors.gathering import WORTH_SECONDS, Gathering, Hits, Search

LONG = 60.0
"""Seconds that no test takes."""


class Scans:
    """Answers each search with its own number, once it may; remembers which ones went together."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.began = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)

    def __call__(self, searches: Sequence[Search]) -> list[Hits]:
        self.batches.append([search.limit for search in searches])
        self.began.release()
        assert self.may_end.acquire(timeout=LONG)
        threading.Event().wait(2 * WORTH_SECONDS)
        if any(search.limit == 13 for search in searches):
            raise StorageError("the index is broken")
        return [[[VectorHit(RowKey(search.limit), 1.0)]] for search in searches]


def ask(gathering: Gathering, number: int) -> int:
    (hits,) = gathering.ask(Search(np.zeros((1, 4), np.float32), number, 0.0))
    return hits[0].key


def until_waiting(gathering: Gathering, count: int) -> None:
    """Return once so many searches wait for their scan."""
    pause = threading.Event()
    while len(gathering._waiting) < count:
        pause.wait(0.001)


def test_one_search_after_the_other_is_scanned_alone_and_at_once() -> None:
    scans = Scans()
    gathering = Gathering(scans, patience=1e9, longest_seconds=1e9)
    for number in range(1, 4):
        scans.may_end.release()
        assert ask(gathering, number) == number
    assert scans.batches == [[1], [2], [3]]


def test_searches_that_come_during_a_scan_go_together_in_their_order() -> None:
    scans = Scans()
    gathering = Gathering(scans, longest_seconds=0)
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(ask, gathering, 1)]
        scans.began.acquire()
        for number in (2, 3, 4):
            answers.append(pool.submit(ask, gathering, number))
            until_waiting(gathering, number - 1)
        scans.may_end.release(2)
        assert [answer.result(LONG) for answer in answers] == [1, 2, 3, 4]
    assert scans.batches == [[1], [2, 3, 4]]


def test_as_many_are_waited_for_as_were_there_lately() -> None:
    scans = Scans()
    gathering = Gathering(scans, patience=1e9, longest_seconds=1e9)
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(ask, gathering, 1)]
        scans.began.acquire()
        answers.append(pool.submit(ask, gathering, 2))
        until_waiting(gathering, 1)
        scans.may_end.release()
        # One was scanned and one came meanwhile: that one waits for another.
        answers[0].result(LONG)
        until_waiting(gathering, 1)
        assert len(scans.batches) == 1
        answers.append(pool.submit(ask, gathering, 3))
        scans.may_end.release()
        assert [answer.result(LONG) for answer in answers] == [1, 2, 3]
    assert scans.batches == [[1], [2, 3]]


def test_whoever_waits_in_vain_is_scanned_alone_in_the_end() -> None:
    scans = Scans()
    gathering = Gathering(scans, patience=2.0, longest_seconds=0.01)
    scans.may_end.release(9)
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(lambda number: ask(gathering, number), range(1, 5))) == [1, 2, 3, 4]
    assert ask(gathering, 5) == 5
    assert scans.batches[-1] == [5]


def test_an_error_reaches_all_who_shared_the_scan_and_nobody_after_them() -> None:
    scans = Scans()
    gathering = Gathering(scans, longest_seconds=0)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(ask, gathering, 1)
        scans.began.acquire()
        shared = [pool.submit(ask, gathering, 13)]
        until_waiting(gathering, 1)
        shared.append(pool.submit(ask, gathering, 2))
        until_waiting(gathering, 2)
        scans.may_end.release(3)
        assert first.result(LONG) == 1
        for one in shared:
            with pytest.raises(StorageError, match="broken"):
                one.result(LONG)
    assert ask(gathering, 7) == 7
