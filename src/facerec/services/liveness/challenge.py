"""The challenge: movements asked in an order that nobody can know before, and what is seen of them.

Everything here is plain: a frame's face and where the challenge stands give where it stands then. Each step
begins with a face that looks straight ahead, goes to the asked movement through what lies between, and ends
with a face that looks straight ahead again.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from enum import StrEnum

from facerec.services.liveness.motion import Sample, depth_of_turn, same_points


class Step(StrEnum):
    """What is asked. "Left" and "right" are the person's own; a camera's picture is not mirrored."""

    TURN_LEFT = "TURN_LEFT"
    TURN_RIGHT = "TURN_RIGHT"
    CHIN_UP = "CHIN_UP"
    CHIN_DOWN = "CHIN_DOWN"
    COME_CLOSER = "COME_CLOSER"


class Stage(StrEnum):
    """Where a step stands."""

    LOOK_AHEAD = "LOOK_AHEAD"
    """A face that looks straight ahead is awaited."""
    MOVE = "MOVE"
    BACK = "BACK"
    """The movement was made; back to where it began."""


class Remark(StrEnum):
    """What a frame brought, or lacked."""

    GOOD = "GOOD"
    STEP_DONE = "STEP_DONE"
    ALL_DONE = "ALL_DONE"
    MORE_SLOWLY = "MORE_SLOWLY"
    """The movement was too quick to be followed: the step begins anew."""
    OTHER_MOVEMENT = "OTHER_MOVEMENT"
    """Another movement than the asked one: other steps follow."""
    TOO_LATE = "TOO_LATE"
    """The movement did not come in time: other steps follow."""
    REPEATED = "REPEATED"
    """The very picture of the frame before."""
    TOO_MANY_MISTAKES = "TOO_MANY_MISTAKES"


SIDES = frozenset({Step.TURN_LEFT, Step.TURN_RIGHT})
TURNED = 18.0
"""Degrees from where the step began that a head has to turn aside."""
NODDED = 12.0
"""Degrees that it has to go up or down, which five landmarks tell less surely."""
CLOSER = 1.3
"""Times that the face has to become larger."""
OTHER = {"aside": 22.0, "up or down": 25.0, "closer": 1.5}
"""From where on a movement that was not asked is another one, and no unsteadiness."""
AHEAD_YAW, AHEAD_PITCH, AHEAD_ROLL = 15.0, 20.0, 25.0
"""Degrees within which a face looks straight ahead."""
AT_REST = 8.0
"""Degrees of yaw within which a head that still turns the other way comes to rest: its turn is measured from
there. The movement before ends when the head is nearly back, and not where it rests."""
BETWEEN = (0.25, 0.8)
"""Shares of the asked movement in which a frame shows the way to it."""
BACK_AT = 0.4
"""Share of the asked movement from which it is back."""
LEAST_DEPTH = 0.35
"""Of a generic head's depth (`depth_of_turn`) that a turn has to show."""
STEP_SECONDS = 15.0
"""Longest time for a movement, from when it may begin."""
GAP_SECONDS = 2.5
"""Longest time between two frames of one movement."""
JUMP = 0.6
"""Share of its size by which a face's centre, or its size, may differ between two frames."""
MISTAKES = 1
"""Most movements other than the asked one, or left out: another one ends the challenge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """Where a challenge stands."""

    steps: tuple[Step, ...]
    done: int = 0
    """Steps that are."""
    stage: Stage = Stage.LOOK_AHEAD
    began: Sample | None = None
    """The face that looked straight ahead before the movement."""
    last: Sample | None = None
    """The face of the frame before."""
    asked_at: float = 0.0
    """When the movement was asked, in seconds since the epoch."""
    between: int = 0
    """Frames that showed the way to the movement."""
    depths: tuple[float, ...] = ()
    """What `depth_of_turn` said of each turn that was made."""
    mistakes: int = 0

    @property
    def asked(self) -> Step | None:
        """The step at work; None where all are done."""
        return self.steps[self.done] if self.done < len(self.steps) else None

    @property
    def failed(self) -> bool:
        """Whether there were too many mistakes."""
        return self.mistakes > MISTAKES


def draw_steps(count: int, after: tuple[Step, ...] = ()) -> tuple[Step, ...]:
    """Steps in an order that can not be known before: none twice in a row, and a turn aside among all.

    after: the steps before them.
    """
    source = secrets.SystemRandom()
    while True:
        steps: list[Step] = []
        for _ in range(count):
            last = (*after, *steps)[-1:]
            steps.append(source.choice([step for step in Step if step not in last]))
        if SIDES & {*after, *steps}:
            return tuple(steps)


def advance(challenge: Challenge, sample: Sample) -> tuple[Challenge, Remark]:
    """Where the challenge stands after one more frame. Of one that is over nothing changes."""
    asked = challenge.asked
    if asked is None or challenge.failed:
        return challenge, Remark.ALL_DONE if asked is None else Remark.TOO_MANY_MISTAKES
    last = challenge.last
    if last is not None and same_points(last, sample):
        return replace(challenge, last=sample), Remark.REPEATED
    moved_on = replace(challenge, last=sample)
    if last is not None and challenge.stage is not Stage.LOOK_AHEAD and _broken_off(last, sample):
        return _again(moved_on), Remark.GOOD
    if challenge.stage is Stage.LOOK_AHEAD or challenge.began is None:
        return _look_ahead(moved_on, sample), Remark.GOOD
    if sample.at - challenge.asked_at > STEP_SECONDS:
        return _mistake(moved_on, Remark.TOO_LATE)
    if challenge.stage is Stage.MOVE:
        return _move(moved_on, asked, challenge.began, sample)
    return _back(moved_on, asked, challenge.began, sample)


def looks_ahead(sample: Sample) -> bool:
    """Whether a face looks straight ahead."""
    return (
        abs(sample.yaw) <= AHEAD_YAW and abs(sample.pitch) <= AHEAD_PITCH and abs(sample.roll) <= AHEAD_ROLL
    )


def _look_ahead(challenge: Challenge, sample: Sample) -> Challenge:
    if not looks_ahead(sample):
        return challenge
    return replace(challenge, stage=Stage.MOVE, began=sample, asked_at=sample.at, between=0)


def _move(challenge: Challenge, asked: Step, began: Sample, sample: Sample) -> tuple[Challenge, Remark]:
    share = _share(asked, began, sample)
    if asked in SIDES and share < 0 and abs(sample.yaw) <= AT_REST and looks_ahead(sample):
        return replace(challenge, began=sample, between=0), Remark.GOOD
    if BETWEEN[0] <= share <= BETWEEN[1]:
        return replace(challenge, between=challenge.between + 1), Remark.GOOD
    if share < 1.0:
        if _other_movement(asked, began, sample):
            return _mistake(challenge, Remark.OTHER_MOVEMENT)
        return challenge, Remark.GOOD
    if not challenge.between:
        return _again(challenge), Remark.MORE_SLOWLY
    if asked is Step.COME_CLOSER:
        return replace(challenge, stage=Stage.BACK), Remark.GOOD
    depth = depth_of_turn(began, sample)
    if depth < LEAST_DEPTH:
        return challenge, Remark.GOOD
    return replace(challenge, stage=Stage.BACK, depths=(*challenge.depths, depth)), Remark.GOOD


def _back(challenge: Challenge, asked: Step, began: Sample, sample: Sample) -> tuple[Challenge, Remark]:
    if _share(asked, began, sample) > BACK_AT or not looks_ahead(sample):
        return challenge, Remark.GOOD
    done = replace(
        challenge,
        done=challenge.done + 1,
        stage=Stage.MOVE,
        began=sample,
        asked_at=sample.at,
        between=0,
    )
    return done, Remark.ALL_DONE if done.asked is None else Remark.STEP_DONE


def _share(step: Step, began: Sample, sample: Sample) -> float:
    """How much of an asked movement a face has made: 1 for all of it, below 0 the other way."""
    # The image's right, to which yaw is positive, is the left of who looks into the camera.
    if step in SIDES:
        sign = 1 if step is Step.TURN_LEFT else -1
        return sign * (sample.yaw - began.yaw) / TURNED
    if step is Step.COME_CLOSER:
        return (sample.size / began.size - 1) / (CLOSER - 1)
    sign = 1 if step is Step.CHIN_UP else -1
    return sign * (sample.pitch - began.pitch) / NODDED


def _other_movement(asked: Step, began: Sample, sample: Sample) -> bool:
    """Whether a face has made a movement that was not asked."""
    yaw, pitch = abs(sample.yaw - began.yaw), abs(sample.pitch - began.pitch)
    aside = yaw >= OTHER["aside"] and depth_of_turn(began, sample) >= LEAST_DEPTH
    up_or_down = pitch >= OTHER["up or down"] and (asked not in SIDES or pitch > yaw)
    closer = asked is not Step.COME_CLOSER and sample.size >= OTHER["closer"] * began.size
    return aside or up_or_down or closer


def _broken_off(last: Sample, sample: Sample) -> bool:
    """Whether something may have happened between two frames that nobody has seen."""
    before, after = (
        [sum(point[axis] for point in one.points) / len(one.points) for axis in (0, 1)]
        for one in (last, sample)
    )
    apart = max(abs(before[axis] - after[axis]) for axis in (0, 1))
    larger, smaller = max(last.size, sample.size), min(last.size, sample.size)
    return sample.at - last.at > GAP_SECONDS or apart > JUMP * larger or smaller < (1 - JUMP / 2) * larger


def _again(challenge: Challenge) -> Challenge:
    """The step from its beginning. A turn that was counted for it counts no more."""
    depths = challenge.depths
    if challenge.stage is Stage.BACK and challenge.asked is not Step.COME_CLOSER:
        depths = depths[:-1]
    return replace(challenge, stage=Stage.LOOK_AHEAD, began=None, between=0, depths=depths)


def _mistake(challenge: Challenge, remark: Remark) -> tuple[Challenge, Remark]:
    """A step that was not done: all that are left are drawn anew, so that waiting for them is in vain."""
    begun = _again(challenge)
    done = challenge.steps[: challenge.done]
    left = draw_steps(len(challenge.steps) - challenge.done, after=done)
    changed = replace(begun, steps=(*done, *left), mistakes=challenge.mistakes + 1)
    return changed, Remark.TOO_MANY_MISTAKES if changed.failed else remark
