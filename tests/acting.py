"""Somebody before a camera who does what a liveness session asks, in drawn frames or in others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from facerec.engine.fake import FakeFace, Motion, draw
from facerec.services.liveness.sessions import LivenessSessions

Frame = Callable[[float, float, float], bytes]
"""An encoded frame of a face by its yaw and pitch in degrees, and how much larger it is than at first."""

SHARES = (0.0, 0.4, 0.5, 1.25, 1.3, 0.8, 0.0)
"""How much of a movement the frames of it show. On the way back a turned head does not look ahead yet: a step
that began there would be measured from there."""

MOVEMENTS = {
    "TURN_LEFT": (22.0, 0.0, 1.0),
    "TURN_RIGHT": (-22.0, 0.0, 1.0),
    "CHIN_UP": (0.0, 15.0, 1.0),
    "CHIN_DOWN": (0.0, -15.0, 1.0),
    "COME_CLOSER": (0.0, 0.0, 1.35),
}
"""Yaw, pitch and size of each movement, in whole."""

OPPOSITE = {
    "TURN_LEFT": "TURN_RIGHT",
    "TURN_RIGHT": "TURN_LEFT",
    "CHIN_UP": "TURN_LEFT",
    "CHIN_DOWN": "TURN_LEFT",
    "COME_CLOSER": "TURN_LEFT",
}
"""A movement that is another one than the asked one."""


def still() -> Callable[[], float]:
    """A clock that stands still: how long a busy machine takes for a frame makes no difference by it."""
    now = time.time()
    return lambda: now


def without_haste(liveness: LivenessSessions) -> None:
    """Give sessions a clock that stands still."""
    liveness.clock = still()


def drawn(person: str | FakeFace, *, flat: bool = False) -> Frame:
    """Frames for the fake engine. flat: of a photograph that is turned."""

    def frame(yaw: float, pitch: float, size: float) -> bytes:
        motion = Motion(yaw=round(yaw), pitch=round(pitch), flat=flat)
        return draw(person, motion=motion, share=0.4 * size)

    return frame


@dataclass
class Actor:
    """Sends the frames of one session, and remembers what was answered last."""

    client: httpx.Client
    session_id: str
    frame: Frame
    answer: dict[str, Any] = field(default_factory=dict)
    sent: int = 0

    def send(self, data: bytes) -> Mapping[str, Any]:
        """Send a frame, again where it came too soon after the others; what was answered."""
        path, files = f"/api/v1/liveness/sessions/{self.session_id}/frames", {"image": ("frame", data)}
        while (response := self.client.post(path, files=files)).status_code == 429:
            time.sleep(float(response.headers["Retry-After"]))
        assert response.status_code == 200, response.text
        self.sent += 1
        self.answer = response.json()
        return self.answer

    def move(self, step: str) -> None:
        """Make a movement, there and back."""
        for data in self.frames(step):
            self.send(data)

    def frames(self, step: str) -> Iterator[bytes]:
        """The frames of a movement, there and back. No two frames are quite the same."""
        yaw, pitch, size = MOVEMENTS[step]
        for place, share in enumerate(SHARES):
            unsteady = 1.0 if (self.sent + place) % 2 else -1.0
            yield self.frame(share * yaw + unsteady, share * pitch, 1 + share * (size - 1))

    def obey(self, *, steps: int = 20) -> None:
        """Do what is asked until the session is over, `steps` movements at most."""
        self.send(self.frame(2, 0, 1))
        while steps and (asked := self.answer["asked"]) is not None:
            self.move(asked["step"])
            steps -= 1
