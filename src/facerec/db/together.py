"""Writes that come at the same time share a transaction, and with it the wait for the disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from facerec.errors import DatabaseBusy, DatabaseUnavailable, StorageError

T = TypeVar("T")

ATTEMPTS = 5
"""Times that a write is begun when the database undoes it for another one's sake."""

PATIENCE_SECONDS = 0.05
"""Longest time for which writes that nobody waits for wait for company."""


@dataclass(frozen=True, slots=True, eq=False)
class _Write(Generic[T]):
    """A change that waits to be committed with others."""

    work: Callable[[sa.Connection], T]
    patient: bool
    """Whether it may wait for those that were announced."""
    outcome: Future[T] = field(default_factory=Future)


@dataclass(slots=True, eq=False)
class _Lane:
    """The writes that may share: those that wait, and how many callers are in it."""

    turn: threading.Condition
    waiting: list[_Write[Any]] = field(default_factory=list)
    callers: int = 0
    committing: bool = False


class _Own(threading.local):
    """How it stands with a thread."""

    announced = False
    """Whether it has announced a write that has not come yet."""


class Together:
    """Gathers writes while others are committed, and commits them in one transaction. No timer: a write that
    comes alone is begun at once.

    But for those that were announced, which nobody waits for: they are begun when half of all that are
    announced have come, so that the other half keeps the processors busy, or after PATIENCE_SECONDS.
    """

    def __init__(
        self,
        write: Callable[[], AbstractContextManager[sa.Connection]],
        fell_victim: Callable[[StorageError], bool],
    ) -> None:
        """write: begins a transaction. fell_victim: whether one that failed so would pass if done again."""
        self._write = write
        self._fell_victim = fell_victim
        self._lock = threading.Lock()
        self._lanes: dict[int | None, _Lane] = {}
        self._company = threading.Condition(self._lock)
        """Told when those who wait for company need not any longer."""
        self._announced = 0
        """Threads in a block of `announced`, and of them those whose write is yet to come."""
        self._to_come = 0
        self._own = _Own()

    @contextmanager
    def announced(self) -> Iterator[None]:
        """See `facerec.db.Database.announced`."""
        with self._lock:
            self._announced += 1
            self._to_come += 1
        self._own.announced = True
        try:
            yield
        finally:
            with self._lock:
                self._come()
                self._announced -= 1
                if self._is_enough():
                    self._company.notify_all()

    def do(self, work: Callable[[sa.Connection], T], lane: int | None) -> T:
        """See `facerec.db.Database.write_together`."""
        with self._lock:
            own = self._lanes.setdefault(lane, _Lane(threading.Condition(self._lock)))
            own.callers += 1
            write = _Write(work, patient=self._come())
            own.waiting.append(write)
            if not write.patient or self._is_enough():
                self._company.notify_all()
        try:
            return self._do(own, write)
        finally:
            with self._lock:
                own.callers -= 1
                if not own.callers:
                    del self._lanes[lane]

    def _do(self, lane: _Lane, mine: _Write[T]) -> T:
        """Wait until another caller has done it, or the turn has come to do it with all that wait."""
        with self._lock:
            lane.turn.wait_for(lambda: mine.outcome.done() or not lane.committing)
            if mine.outcome.done():
                return mine.outcome.result()
            lane.committing = True
        try:
            with self._lock:
                self._company.wait_for(
                    lambda: self._is_enough() or not all(one.patient for one in lane.waiting),
                    timeout=PATIENCE_SECONDS,
                )
                group, lane.waiting = lane.waiting, []
            self._commit(group)
        finally:
            with self._lock:
                lane.committing = False
                lane.turn.notify_all()
        return mine.outcome.result()

    def _come(self) -> bool:
        """Note that this thread's announced write has come, if it has announced one; whether it has."""
        announced, self._own.announced = self._own.announced, False
        self._to_come -= announced
        return announced

    def _is_enough(self) -> bool:
        """Whether half of what is announced has come."""
        return 2 * self._to_come <= self._announced

    def _commit(self, group: Sequence[_Write[Any]]) -> None:
        """Do the work of a group in one transaction; on an error, of each in one of its own."""
        try:
            with self._write() as connection:
                results = [one.work(connection) for one in group]
        except Exception as error:  # noqa: BLE001  (whatever it is, it is raised again in its caller)
            # Of one that the database may have kept, or does not answer, nothing is done a second time here.
            if isinstance(error, DatabaseUnavailable):
                _fail(group, error)
            elif len(group) > 1:
                for one in group:
                    self._commit([one])
            else:
                self._repeat(group[0], error)
            return
        except BaseException as error:  # noqa: BLE001
            _fail(group, error)
            return
        for one, result in zip(group, results, strict=True):
            one.outcome.set_result(result)

    def _repeat(self, one: _Write[Any], error: Exception) -> None:
        """Do a write again for as long as it fails for others' sake; what ends it is its outcome."""
        for _ in range(ATTEMPTS - 1):
            if not (isinstance(error, DatabaseBusy) and self._fell_victim(error)):
                break
            try:
                with self._write() as connection:
                    result = one.work(connection)
            except Exception as another:  # noqa: BLE001  (as above)
                error = another
            else:
                one.outcome.set_result(result)
                return
        one.outcome.set_exception(error)


def _fail(group: Sequence[_Write[Any]], error: BaseException) -> None:
    for one in group:
        one.outcome.set_exception(error)
