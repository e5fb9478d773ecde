"""Where a challenge stands after each frame of a head that moves: plain functions of what was seen."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from test_liveness_motion import sample, seen

from facerec.engine.pose import FACE
from facerec.services.liveness.challenge import Challenge, Remark, Stage, Step, advance


def after(challenge: Challenge, yaws: Iterable[float]) -> tuple[Challenge, list[Remark]]:
    """Where a challenge stands after a head was turned to each of these, and what each brought."""
    remarks = []
    for yaw in yaws:
        challenge, remark = advance(challenge, sample(seen(FACE, yaw, 0)))
        remarks.append(remark)
    return challenge, remarks


AHEAD_TO_LEFT = (-4, 0, 4, 8, 13, 18)
"""A head that rests a little aside, and turns no farther than it has to."""


@pytest.mark.parametrize("begins", [-6, 0, 13])
def test_a_turn_is_measured_from_where_the_head_rests(begins: float) -> None:
    asked = Challenge(steps=(Step.TURN_LEFT, Step.TURN_LEFT))
    way = (*AHEAD_TO_LEFT, *AHEAD_TO_LEFT[::-1], -6)
    # The first one begins wherever the head is, the second one while it still comes back.
    done, _ = after(asked, (begins, 3, -5.5, *way, *way))
    assert (done.asked, done.mistakes, len(done.depths)) == (None, 0, 2)


@pytest.mark.parametrize(("asked", "sign"), [(Step.TURN_LEFT, 1), (Step.TURN_RIGHT, -1)])
def test_the_other_way_is_no_rest_but_a_mistake(asked: Step, sign: int) -> None:
    yaws = [sign * yaw for yaw in (0, -4, -7, -12, -18, -24, -31)]
    challenge, remarks = after(Challenge(steps=(asked, asked)), yaws)
    assert Remark.OTHER_MOVEMENT in remarks
    assert (challenge.mistakes, challenge.stage) == (1, Stage.LOOK_AHEAD)
