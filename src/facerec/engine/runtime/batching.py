"""Batches without a timer: while one batch runs the next gathers, so that pressure makes the batches.

An idle batcher runs an item the moment it comes; a busy one collects what arrives and runs it together.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from facerec.errors import Cancelled, FacerecError, Overloaded, WaitedTooLong
from facerec.observability import RequestContext, current_request, metrics

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger(__name__)

_waited = metrics.wait_seconds.labels("batch")


@dataclass(slots=True, eq=False)
class _Entry(Generic[T, R]):
    """One item on its way through the queue."""

    item: T
    request: RequestContext
    future: Future[R] = field(default_factory=Future)
    queued_at: float = field(default_factory=time.perf_counter)


class Batcher(Generic[T, R]):
    """Gathers items of many callers into calls of `run`, made one at a time by a thread of its own.

    run: gives one result for each of 1..max_batch items, in order. If it raises, its items are run again one
    by one, so that only the item at fault fails, with its own error.
    max_batch: most items in one call of `run`.
    max_queue: a caller that finds this many items waiting is refused with Overloaded. A caller's items are
    taken all or none, so one caller may bring the queue over this number, not two.
    name: of the thread.
    """

    def __init__(
        self,
        run: Callable[[Sequence[T]], Sequence[R]],
        *,
        max_batch: int,
        max_queue: int,
        name: str = "batcher",
    ) -> None:
        if max_batch < 1 or max_queue < 1:
            raise ValueError(f"max_batch {max_batch} and max_queue {max_queue} have to be at least 1")
        self._run = run
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._waiting: deque[_Entry[T, R]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether its thread runs batches."""
        return self._thread.is_alive()

    def submit(self, item: T) -> Future[R]:
        """Queue one item for the current request. Raises Overloaded, or FacerecError after close."""
        return self._enqueue([item])[0]

    def call(self, items: Sequence[T]) -> list[R]:
        """Queue the items together and wait for their results, in order; no items give an empty list.

        Raises Overloaded, what `run` raised for the first of the items that failed, Cancelled when the
        current request's caller has gone before its turn came, or FacerecError after close.
        """
        if not items:
            return []
        futures = self._enqueue(items)
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def close(self) -> None:
        """Let the running batch finish, fail what waits, and end the thread. Closing twice is harmless."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _enqueue(self, items: Sequence[T]) -> list[Future[R]]:
        """Put all the items into the queue, or none."""
        request = current_request()
        request.check()
        entries: list[_Entry[T, R]] = [_Entry(item, request) for item in items]
        with self._changed:
            if self._closed:
                raise FacerecError("the service is closing: no more work is taken")
            if len(self._waiting) >= self._max_queue:
                raise Overloaded
            self._waiting.extend(entries)
            self._changed.notify_all()
        return [entry.future for entry in entries]

    def _work(self) -> None:
        """Run batches until closed. However this ends, nobody is left waiting."""
        batch: list[_Entry[T, R]] = []
        try:
            while batch := self._next_batch():
                self._answer(batch)
        except BaseException:
            logger.exception("the batch runner %s stopped", threading.current_thread().name)
            raise
        finally:
            with self._changed:
                self._closed = True
                left = [*batch, *self._waiting]
                self._waiting.clear()
            for entry in left:
                _fail(entry, FacerecError("the service closed before this work was done"))

    def _next_batch(self) -> list[_Entry[T, R]]:
        """Wait for work and take a batch of it; empty when closed. Entries nobody waits for are dropped."""
        while True:
            batch: list[_Entry[T, R]] = []
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return []
                while self._waiting and len(batch) < self._max_batch:
                    entry = self._waiting.popleft()
                    try:
                        entry.request.check()
                    except (Cancelled, WaitedTooLong) as reason:
                        _fail(entry, reason)
                        continue
                    if entry.future.set_running_or_notify_cancel():
                        batch.append(entry)
                        _waited.observe(time.perf_counter() - entry.queued_at)
            if batch:
                return batch

    def _answer(self, batch: list[_Entry[T, R]]) -> None:
        """Run a batch and hand out the results; on an error, each of several entries gets a run of its
        own."""
        try:
            results = self._run([entry.item for entry in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results came back for {len(batch)} items")
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the caller, not to this thread
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            for entry in batch:
                self._answer([entry])
            return
        for entry, result in zip(batch, results, strict=True):
            entry.future.set_result(result)


def _fail(entry: _Entry[T, R], error: FacerecError) -> None:
    """Give an entry's caller an error, unless it has an answer already or has cancelled."""
    if not entry.future.done() and (entry.future.running() or entry.future.set_running_or_notify_cancel()):
        entry.future.set_exception(error)
