"""How often a liveness session lets through who does what is asked, and who only seems to, as JSON.

    python benchmarks/liveness/active.py PACK FILM [--trials N]

FILM: one in which a person turns the head; `HEAD` says where. The person's frames answer what is asked, as
far as the film shows it: turns aside, and coming closer by enlarging. The attacks are made of the same
frames.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from recaptures import Pixels, screened

from facerec.bootstrap import Service, open_service
from facerec.config import read_settings
from facerec.services.liveness.challenge import SIDES, Challenge, Step, draw_steps
from facerec.services.liveness.records import LivenessSession, SessionStatus

HEAD = {"first": 134, "ahead": 146, "left": 159, "right": 136}
"""Frames of the film in the folder shared: the first of interest, a look ahead, turned to either side."""
CUT = (slice(0, 190), slice(90, 410))
"""What is cut out of each frame."""
MOST_FRAMES = 160
SECONDS_A_FRAME = 0.12
SHOWN = frozenset({Step.TURN_LEFT, Step.TURN_RIGHT, Step.COME_CLOSER})
"""Movements that the film shows, or that can be made of it."""

Actor = Callable[[Step | None, int], Pixels]
"""The next frame, by what is asked and the number of the frame."""


def main() -> None:
    """Read the command line, hold the sessions, print the figures."""
    parser = argparse.ArgumentParser(description="Measure active liveness.")
    parser.add_argument("pack")
    parser.add_argument("film", type=Path)
    parser.add_argument("--trials", type=int, default=10)
    chosen = parser.parse_args()
    frames = read_frames(chosen.film)
    kinds: dict[str, dict[str, float]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        open_service(read_settings(model_path=chosen.pack, data_dir=Path(folder))) as service,
    ):
        for name, (maker, fair) in ACTORS.items():
            sessions = [
                hold(service, maker(frames, np.random.default_rng(seed)), fair)
                for seed in range(chosen.trials)
            ]
            kinds[name] = _figures(sessions)
        pack = service.engine.contract.pack
    print(json.dumps({"pack": pack, "kinds": kinds}))


def read_frames(film: Path) -> dict[int, Pixels]:
    """Frames of the head by their numbers, RGB, twice enlarged."""
    video = cv2.VideoCapture(str(film))
    frames: dict[int, Pixels] = {}
    for number in range(HEAD["left"] + 1):
        _, frame = video.read()
        if number >= HEAD["first"]:
            part = cv2.cvtColor(frame[CUT], cv2.COLOR_BGR2RGB)
            frames[number] = np.asarray(
                cv2.resize(part, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), np.uint8
            )
    return frames


def hold(service: Service, actor: Actor, fair: bool) -> LivenessSession:
    """A session with an actor, as it is at the end. fair: movements are asked that the film shows."""
    liveness = service.liveness
    now = liveness.clock()
    liveness.clock = lambda: now  # time passes by frames
    session = liveness.open()
    steps = draw_steps(len(session.challenge.steps))
    while fair and not set(steps) <= SHOWN:
        steps = draw_steps(len(session.challenge.steps))
    session = replace(session, challenge=Challenge(steps=steps))
    for number in range(MOST_FRAMES):
        now += SECONDS_A_FRAME
        frame = actor(session.challenge.asked, number)
        encoded = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])
        session = service.liveness._take(
            session, service.liveness._see(session, service.engine.decode(encoded[1].tobytes()))
        ).session
        if session.status(now) is not SessionStatus.IN_PROGRESS:
            break
    return session


def person(frames: dict[int, Pixels], noise: np.random.Generator) -> Actor:
    """Who does what is asked."""
    movements = {step: _movement(frames, step) for step in SHOWN}
    playing: list[Iterator[Pixels]] = []

    def act(asked: Step | None, number: int) -> Pixels:
        if not playing:
            playing.append(iter(movements.get(asked or Step.TURN_LEFT, movements[Step.TURN_LEFT])))
        frame = next(playing[0], None)
        if frame is None:
            playing.clear()
            frame = frames[HEAD["ahead"]]
        return _camera(frame, noise)

    return act


def recorded(frames: dict[int, Pixels], noise: np.random.Generator) -> Actor:
    """A film of the person that is played over and over, on a screen."""
    order = [Step.TURN_LEFT, Step.TURN_RIGHT, Step.COME_CLOSER]
    noise.shuffle(order)
    film = [frame for step in order for frame in _movement(frames, step)]
    return lambda _asked, number: screened(film[number % len(film)], number)


def operated(frames: dict[int, Pixels], noise: np.random.Generator) -> Actor:
    """Somebody who plays the right film of the person at the right time, on a screen."""
    inner = person(frames, noise)
    return lambda asked, number: screened(inner(asked, number), number)


def still(frames: dict[int, Pixels], noise: np.random.Generator) -> Actor:
    """A photograph before the camera."""
    return lambda _asked, _number: _camera(frames[HEAD["ahead"]], noise)


def moved(frames: dict[int, Pixels], noise: np.random.Generator) -> Actor:
    """A photograph that is turned, tilted, rocked and brought nearer, as if it did what is asked."""

    def act(asked: Step | None, number: int) -> Pixels:
        picture = frames[HEAD["ahead"]]
        height, width = picture.shape[:2]
        share = abs(np.sin(number * 0.22))
        yaw = {Step.TURN_LEFT: 45, Step.TURN_RIGHT: -45}.get(asked or Step.TURN_LEFT, 0) * share
        pitch = {Step.CHIN_UP: 40, Step.CHIN_DOWN: -40}.get(asked or Step.TURN_LEFT, 0) * share
        size = 1 + (0.4 * share if asked is Step.COME_CLOSER else 0)
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], np.float64) * (width / 2, height / 2)
        a, b = np.radians([yaw, pitch])
        depth = corners[:, 0] * np.sin(a) + corners[:, 1] * np.sin(b)
        seen = corners * (np.cos(a), np.cos(b)) * size * (2.2 * width / (2.2 * width - depth))[:, None]
        centre = np.array([width / 2, height / 2])
        source, target = (corners + centre).astype(np.float32), (seen + centre).astype(np.float32)
        warp = cv2.getPerspectiveTransform(source, target)
        turned = cv2.warpPerspective(picture, warp, (width, height), borderValue=(120, 115, 108))
        return _camera(np.asarray(turned, np.uint8), noise)

    return act


def slides(frames: dict[int, Pixels], noise: np.random.Generator) -> Actor:
    """Three photographs, of which the right one is shown at once."""

    def act(asked: Step | None, number: int) -> Pixels:
        turned = {Step.TURN_LEFT: "left", Step.TURN_RIGHT: "right"}.get(asked or Step.CHIN_UP, "ahead")
        return _camera(frames[HEAD[turned if number % 12 >= 6 else "ahead"]], noise)

    return act


ACTORS: dict[str, tuple[Callable[[dict[int, Pixels], np.random.Generator], Actor], bool]] = {
    "the person": (person, True),
    "a photograph, still": (still, False),
    "a photograph, turned and tilted": (moved, False),
    "three photographs in turn": (slides, False),
    "a film in a loop, on a screen": (recorded, False),
    "the right films at the right time, on a screen": (operated, True),
}


def _movement(frames: dict[int, Pixels], step: Step) -> list[Pixels]:
    """Frames of a movement, there and back."""
    ahead = frames[HEAD["ahead"]]
    if step in SIDES:
        end = HEAD["left" if step is Step.TURN_LEFT else "right"]
        direction = 1 if end > HEAD["ahead"] else -1
        there = [frames[number] for number in range(HEAD["ahead"], end + direction, direction)]
    else:
        there = [_enlarged(ahead, 1 + 0.05 * place) for place in range(12)]
    return [*there, *there[::-1], ahead]


def _enlarged(picture: Pixels, times: float) -> Pixels:
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 0, times)
    return np.asarray(cv2.warpAffine(picture, matrix, (width, height)), np.uint8)


def _camera(picture: Pixels, noise: np.random.Generator) -> Pixels:
    """A frame as a camera gives it: held not quite still, with noise."""
    height, width = picture.shape[:2]
    matrix = np.array([[1, 0, noise.normal(0, 0.8)], [0, 1, noise.normal(0, 0.8)]])
    moved_a_little = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
    grain = noise.normal(0, 2.0, picture.shape)
    return np.clip(moved_a_little + grain, 0, 255).astype(np.uint8)


def _figures(sessions: list[LivenessSession]) -> dict[str, float]:
    """How many sessions there were, how many succeeded, and with a confidence of 50 or more."""
    succeeded = [one for one in sessions if one.challenge.asked is None and one.failure is None]
    return {
        "sessions": len(sessions),
        "succeeded": len(succeeded),
        "confident": sum((one.confidence or 0) >= 50 for one in succeeded),
        "steps_done": round(float(np.mean([one.challenge.done for one in sessions])), 2),
    }


if __name__ == "__main__":
    main()
