"""Bounds the memory of the pictures at work together: most of what a request takes is decoded pixels.

A picture is admitted before it is decoded, by the bytes that its header announces, and counts until it is
forgotten.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from dataclasses import dataclass

from facerec.engine.base import Picture
from facerec.observability import current_request

_PATIENCE_SECONDS = 0.25
"""How often one that waits looks whether its caller is still there."""


@dataclass(slots=True, eq=False)
class _Caller:
    """A thread that has asked for room."""

    claims: int = 0
    """How many pictures it has inside."""


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """Room for one picture: how many bytes, and who asked for it."""

    amount: int
    caller: _Caller


class PictureBudget:
    """Room for the pixels of pictures. Safe to call from several threads.

    Pictures come in in the order in which they ask, so that a large one is not overtaken for ever by small
    ones. There is always room for one picture alone, however large it is. A thread that has a picture already
    gets its next one at once: were it to wait, threads of two pictures each could wait for one another.

    limit: bytes that the pictures inside take together, but for those two exceptions.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"room for {limit} bytes of pictures; at least 1 is needed")
        self._limit = limit
        # A lock that its own thread may take again: the collection of garbage may give a claim back at any
        # time, in the middle of the methods below too. What is given back waits in a queue to be counted.
        self._changed = threading.Condition(threading.RLock())
        self._given_back: deque[Claim] = deque()
        self._waiting: deque[object] = deque()
        self._used = 0
        # Not by the number of a thread, which the next one gets when it has ended.
        self._local = threading.local()

    @property
    def used(self) -> int:
        """Bytes of the pictures inside."""
        with self._changed:
            self._count_given_back()
            return self._used

    def enter(self, amount: int) -> Claim:
        """Wait for room for a picture of `amount` bytes. Raises Cancelled when the request's caller has gone.

        The claim counts until `leave` is called, or the picture of `keep` is forgotten.
        """
        if not hasattr(self._local, "caller"):
            self._local.caller = _Caller()
        claim = Claim(amount, self._local.caller)
        request = current_request()
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                while not self._may_enter(ticket, claim):
                    request.check()
                    self._changed.wait(_PATIENCE_SECONDS)
                self._used += amount
                claim.caller.claims += 1
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
        return claim

    def leave(self, claim: Claim) -> None:
        """Give the room of a claim back; once for each claim."""
        self._given_back.append(claim)
        with self._changed:
            self._changed.notify_all()

    def keep(self, claim: Claim, picture: Picture) -> None:
        """Give the room of a claim back when nobody knows the picture any more."""
        weakref.finalize(picture, self.leave, claim).atexit = False

    def _may_enter(self, ticket: object, claim: Claim) -> bool:
        """Whether it is the ticket's turn and there is room."""
        self._count_given_back()
        if claim.caller.claims:
            return True
        return self._waiting[0] is ticket and (not self._used or self._used + claim.amount <= self._limit)

    def _count_given_back(self) -> None:
        while self._given_back:
            claim = self._given_back.popleft()
            self._used -= claim.amount
            claim.caller.claims -= 1
