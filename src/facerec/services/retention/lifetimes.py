"""When a face is past its time, as the use cases ask it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from facerec.domain import FOREVER, Collection
from facerec.metastore.expiry import Present


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """The service's default time to live, in seconds, and its clock (seconds since the epoch)."""

    default_ttl: int = FOREVER
    clock: Callable[[], float] = time.time

    def present(self, collection: Collection) -> Present:
        """What a face of the collection has to outlast now."""
        own = collection.face_ttl
        return Present.at(self.clock(), self.default_ttl if own is None else own)

    def end_after(self, seconds: int | None) -> int | None:
        """The end of a face that is stored now and kept for `seconds`; None for None: the collection's."""
        if seconds is None:
            return None
        return FOREVER if seconds >= FOREVER else int(self.clock()) + seconds
