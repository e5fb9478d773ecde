"""Opens the networks of a pack: in the precision that suits this machine, or to record what they see."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

from facerec.config import Settings
from facerec.engine.base import Session
from facerec.engine.runtime.precision import NetworkUse, PrecisionChoice, open_in_precision
from facerec.engine.runtime.range_measurement import RecordingSession
from facerec.engine.runtime.session import F32, INT8, open_session
from facerec.engine.runtime.tensor_range import Range

logger = logging.getLogger(__name__)

DETECTOR = "detector"
RECOGNIZER = "recognizer"


class NetworkOpener(Protocol):
    """Opens the networks of a pack."""

    def open(self, use: NetworkUse) -> Session:
        """The network, for as many runs at a time as the service has threads, each on one processor."""


class ServingNetworks:
    """Opens each network in the precision that the settings ask for, or that is best here."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.choices: dict[str, PrecisionChoice] = {}
        """What was chosen for each role."""

    def open(self, use: NetworkUse) -> Session:
        """Raises ConfigurationError and PackError as `open_in_precision` does."""
        session, choice = open_in_precision(
            use,
            self._settings.precision,
            runtime=self._settings.runtime,
            threads=1,
            parallel=self._settings.threads,
            compiled=self._settings.compiled_folder,
        )
        self.choices[use.role] = choice
        logger.info("%s %s runs in %s: %s", use.role, choice.network, choice.precision, choice.reason)
        return session


class FixedNetworks:
    """Opens the networks whose ranges are given in int8, and any other in f32: to compare the two."""

    def __init__(self, settings: Settings, ranges: Mapping[str, Mapping[str, Range]]) -> None:
        """ranges: of each network in question, by its role."""
        self._settings = settings
        self._ranges = ranges

    def open(self, use: NetworkUse) -> Session:
        """Raises PackError as `open_session` does."""
        ranges = self._ranges.get(use.role)
        return open_session(
            use.file,
            runtime=self._settings.runtime,
            threads=1,
            parallel=self._settings.threads,
            input_shape=use.input_shape,
            pixels=use.pixels,
            precision=F32 if ranges is None else INT8,
            ranges=ranges,
        )


class RecordingNetworks:
    """Opens each network in f32, so that the ranges of its activations are noted while it runs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.sessions: dict[str, RecordingSession] = {}
        """What each role's network has seen."""
        self.uses: dict[str, NetworkUse] = {}

    def open(self, use: NetworkUse) -> Session:
        """Raises PackError as `open_session` does, and for a network in which nothing can be quantised."""
        session = RecordingSession(
            use.file,
            runtime=self._settings.runtime,
            threads=1,
            parallel=self._settings.threads,
            input_shape=use.input_shape,
            pixels=use.pixels,
        )
        self.sessions[use.role] = session
        self.uses[use.role] = use
        return session
