"""What the engine can be measured beside, and how each is had."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from facerec.config import Settings


class PeerName(StrEnum):
    """Packages that do the engine's work."""

    INSIGHTFACE = "insightface"
    FACE_RECOGNITION = "face_recognition"


@dataclass(frozen=True, slots=True)
class Peer:
    """Something to measure beside our engine."""

    name: str
    """With its version."""
    count_faces: Callable[[bytes], int]
    """Finds and embeds the faces of an encoded picture, and counts them. Raises InvalidImage."""


@contextlib.contextmanager
def open_peer(name: PeerName, settings: Settings) -> Iterator[Peer]:
    """The peer, given the networks of the settings' pack where it takes others than its own.

    Raises ConfigurationError where its package is missing, PackError for a pack whose networks it can not
    run or that is not the same as its own.
    """
    # Both are slow to import, and only one is there.
    if name is PeerName.INSIGHTFACE:
        from facerec.cli.bench.insightface_peer import open_insightface

        with open_insightface(settings) as peer:
            yield peer
    else:
        from facerec.cli.bench.face_recognition_peer import open_face_recognition

        yield open_face_recognition(settings)
