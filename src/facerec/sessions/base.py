"""What is remembered for minutes, as the rooms above see it: entries with an end, and rates.

An entry lies under a kind ("registration") and a key. Kinds never meet. What has passed its end is not found,
whether it was removed already or not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from facerec.errors import QuotaExceeded

MOST_BYTES = 1024 * 1024
"""Most bytes of a value."""


@dataclass(frozen=True, slots=True)
class Change:
    """What an entry is to become: its new value (None: removed), and how long it is kept from now on."""

    value: bytes | None
    seconds: float


class SessionStore(Protocol):
    """Safe to call from many threads and processes. All methods raise SessionStoreUnavailable: try again."""

    def put(self, kind: str, key: str, value: bytes, *, seconds: float) -> None:
        """Keep a value for `seconds`, in place of any that is there. Raises QuotaExceeded over MOST_BYTES."""

    def get(self, kind: str, key: str) -> bytes | None:
        """The value; None where there is none, or none any more."""

    def change(self, kind: str, key: str, decide: Callable[[bytes | None], Change]) -> bytes | None:
        """Change an entry by what it is now; the new value.

        Of two who change at once neither is lost: `decide` may be called again with what the other one left,
        so it has no other effects. Raises QuotaExceeded over MOST_BYTES.
        """

    def delete(self, kind: str, key: str) -> bool:
        """Remove an entry; False where there was none."""

    def delete_kind(self, kind: str) -> None:
        """Remove every entry of a kind: results that a change made stale."""

    def take(self, bucket: str, *, per_second: float, burst: int) -> float:
        """Take one from a token bucket that holds `burst` and fills by `per_second`.

        0.0, or the seconds until there will be one (nothing is taken then).
        """

    def ping(self) -> None:
        """Return when it answers."""

    def close(self) -> None:
        """Let go of connections."""


def check_size(value: bytes) -> None:
    """Raise QuotaExceeded for a value of more than MOST_BYTES."""
    if len(value) > MOST_BYTES:
        raise QuotaExceeded(f"{len(value)} bytes are more than a session holds; the limit is {MOST_BYTES}")
