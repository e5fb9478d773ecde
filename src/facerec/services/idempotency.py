"""Requests that may be repeated: the same client token with the same parameters gets the same answer."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from facerec.db import Connection
from facerec.metastore import tokens


@dataclass(frozen=True, slots=True)
class RepeatableRequest:
    """A request with its client token, None where it has none; `now` in seconds since the epoch.

    Tokens are kept apart by operation, and shared by all collections. parameters: JSON values; a collection
    goes by its key, so that a token says nothing about another collection of the same name.
    """

    operation: str
    token: str | None
    parameters: tuple[object, ...]
    now: float

    def recall(self, connection: Connection) -> str | None:
        """What was answered (JSON); None for a request not seen before. Raises IdempotencyMismatch."""
        if self.token is None:
            return None
        return tokens.recall(connection, self.operation, self.token, parameters=self.digest, now=self.now)

    def remember(self, connection: Connection, outcome: object) -> None:
        """Keep the answer (JSON values) in the transaction of the change."""
        if self.token is not None:
            tokens.remember(
                connection,
                self.operation,
                self.token,
                parameters=self.digest,
                outcome=json.dumps(outcome),
                now=self.now,
            )

    @property
    def digest(self) -> bytes:
        """What tells these parameters from others."""
        return hashlib.sha256(json.dumps(self.parameters).encode()).digest()
