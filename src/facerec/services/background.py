"""Work that a service does beside its requests, again and again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from facerec.errors import FacerecError

LONGEST_PAUSE_SECONDS = 5.0
"""While the work fails the pauses double up to this, so that a night of it does not fill the log."""

_log = logging.getLogger(__name__)


class Background:
    """A thread that does its work, pauses, and does it again until it is closed."""

    def __init__(self, name: str, work: Callable[[], None], *, pause: float) -> None:
        """Begin; the first work is done after the first pause (seconds).

        What goes wrong is logged, and the work is tried again after the next pause, and longer ones.
        """
        self._name = name
        self._work = work
        self._pause = pause
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let the work that is under way finish, and do no more of it."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        pause = self._pause
        while not self._closing.wait(pause):
            try:
                self._work()
                pause = self._pause
                continue
            except FacerecError as error:
                _log.warning("%s was not done, and is tried again: %s", self._name, error)
            except Exception:  # noqa: BLE001 - a defect in one round must not end all that follow
                _log.exception("%s was not done, and is tried again", self._name)
            pause = max(min(2 * pause, LONGEST_PAUSE_SECONDS), self._pause)
