"""Whether a face has to be live: scored by the engine, and refused where the policy asks for it."""

from __future__ import annotations

from dataclasses import dataclass

from facerec.domain import LivenessPolicy
from facerec.engine.base import Engine, FoundFace, Picture
from facerec.errors import NotLive, PackError


@dataclass(frozen=True, slots=True)
class LivenessRule:
    """What is done about liveness, and the least score, 0..100, of a live face."""

    policy: LivenessPolicy = LivenessPolicy.OFF
    threshold: float = 50.0

    def score(self, engine: Engine, picture: Picture, found: FoundFace) -> float | None:
        """How surely a face of a picture is live, 0..100; None where nobody asks, or where it is not known.

        Raises PackError where a live face is required and the engine can not tell.
        """
        if self.policy is LivenessPolicy.OFF:
            return None
        scores = engine.liveness(picture, [found])
        if scores is not None:
            return scores[0]
        if self.policy is LivenessPolicy.REQUIRE:
            raise PackError(
                f"a live face is required, but the pack {engine.contract.pack} has no liveness networks"
            )
        return None

    def refusal(self, score: float | None) -> NotLive | None:
        """Why a face with this score is refused; None where it is not."""
        if self.policy is not LivenessPolicy.REQUIRE or score is None or score >= self.threshold:
            return None
        return NotLive()
