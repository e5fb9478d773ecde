"""A liveness session as proof that the person of a picture was there: once, and for that person alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from facerec.engine.base import Floats
from facerec.errors import NotLive
from facerec.services.liveness.records import LivenessSession
from facerec.services.liveness.sessions import LivenessSessions


@dataclass(frozen=True, slots=True)
class Proof:
    """A session that has succeeded, and was not used yet."""

    session: LivenessSession
    sessions: LivenessSessions
    least: float
    """Confidence, 0..100, that it has to have."""

    def refusal(self, embedding: Floats, contract_id: str) -> NotLive | None:
        """Why it proves nothing of a face with a unit embedding (dimension,); None where it does.

        Raises InvalidParameter where the embedding is another model's than the session's.
        """
        if self.sessions.shows(self.session, embedding, contract_id):
            return None
        return NotLive("The liveness session shows another person than the picture.")

    @contextlib.contextmanager
    def spent(self) -> Iterator[None]:
        """Use it for what is done in the block, which fails where others were quicker; an error in the block
        gives it back. Raises NotLive, SessionNotFound."""
        self.sessions.use(self.session.session_id, least=self.least)
        try:
            yield
        except BaseException:
            self.sessions.give_back(self.session.session_id)
            raise


class Proofs:
    """Finds the proof that a request names."""

    def __init__(self, sessions: LivenessSessions, *, required: bool, least: float) -> None:
        """required: whether a request has to name one. least: as `Proof` has it."""
        self._sessions = sessions
        self._required = required
        self._least = least

    def of(self, session_id: str | None) -> Proof | None:
        """The proof; None for a request that names none and need not. Raises NotLive, SessionNotFound."""
        if session_id is None:
            if self._required:
                raise NotLive(
                    "A liveness session is required: open one at /api/v1/liveness/sessions, and send its id "
                    "as liveness_session_id once it has succeeded."
                )
            return None
        session = self._sessions.check(session_id, least=self._least)
        return Proof(session, self._sessions, self._least)
