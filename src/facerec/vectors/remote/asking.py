"""Asking a store: again with growing pauses until a deadline, and not at all while it is known to be down."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from facerec.errors import VectorStoreUnavailable
from facerec.vectors.remote.circuit import Circuit
from facerec.vectors.remote.target import NotAnswering

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two tries of one call: doubled each time, with jitter."""


class Asking:
    """Calls a store on behalf of one kind of work."""

    def __init__(self, name: str, circuit: Circuit) -> None:
        """name: of the store, for messages."""
        self._name = name
        self.circuit = circuit

    def ask(self, call: Callable[[], T], deadline: float) -> T:
        """The answer of `call`, repeated while it raises NotAnswering and `deadline` has not come.

        deadline: by time.monotonic. Raises VectorStoreUnavailable, and what `call` raises besides.
        """
        pause = FIRST_PAUSE
        while True:
            if not self.circuit.admit():
                raise self.unavailable()
            try:
                answer = call()
            except NotAnswering as error:
                self.circuit.failed(str(error))
                left = deadline - time.monotonic()
                if left <= pause:
                    raise self.unavailable() from error
                time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  (spreads load, no secret)
                pause = min(2 * pause, LONGEST_PAUSE)
            except BaseException:
                self.circuit.succeeded()  # it answered, whatever it said
                raise
            else:
                self.circuit.succeeded()
                return answer

    def unavailable(self) -> VectorStoreUnavailable:
        """The error of a store that is down; what it said is for the log and /health, not for clients."""
        return VectorStoreUnavailable(
            f"The vector store ({self._name}) does not answer at present. Nothing was lost: try your call "
            "again."
        )
