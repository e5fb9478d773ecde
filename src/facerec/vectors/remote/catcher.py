"""Keeping a store up to date in the background, and knowing how far it is behind."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial

from facerec.domain import EntityKind, StoreCondition
from facerec.errors import FacerecError
from facerec.vectors.remote.applying import Applier
from facerec.vectors.remote.asking import Asking
from facerec.vectors.remote.target import Ledger, Target

PAUSE_SECONDS = 0.5
"""How often the database is asked for changes, where asking is quick."""

PAUSE_SHARE = 20
"""The pause is this many times what asking took, at least: many collections take longer to look through."""

SWEEP_SECONDS = 5.0
"""How often scopes that were given up are looked for."""

TURN_SECONDS = 5.0
"""How long one collection that is far behind is worked on before the others have their turn."""

_log = logging.getLogger(__name__)


class Catcher:
    """A thread that applies changes soon after they were made. Several processes may run one each."""

    def __init__(self, target: Target, ledger: Ledger, applier: Applier, asking: Asking) -> None:
        self._target = target
        self._ledger = ledger
        self._applier = applier
        self._asking = asking
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._behind = 0
        self._behind_since: float | None = None
        self._swept = 0.0

    def start(self) -> None:
        """Begin; a no-op where it has begun."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="vectors-catcher", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Look for changes now."""
        self._wake.set()

    def close(self) -> None:
        """End after the step at work."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def sweep(self, deadline: float) -> None:
        """Remove from the store what was given up. Raises VectorStoreUnavailable, StorageError."""
        for scope in self._ledger.retired():
            self._asking.ask(partial(self._target.drop, scope), deadline)
            self._ledger.forget(scope)

    def condition(self) -> StoreCondition:
        """How far the store is behind, as last looked."""
        trouble = self._asking.circuit.trouble
        since = self._behind_since
        return StoreCondition(
            name=self._target.name,
            reachable=trouble is None,
            changes_behind=self._behind,
            seconds_behind=0.0 if since is None else time.monotonic() - since,
            trouble=None if trouble is None else trouble.message,
        )

    def _run(self) -> None:
        worked = True
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                self._round()
                worked = True
            except FacerecError as error:
                if worked:
                    _log.warning("The vector store is not kept up to date: %s", error)
                worked = False
            except Exception:  # noqa: BLE001
                # A defect must not end the thread: searches would go on, ever further behind.
                _log.exception("keeping the vector store up to date failed")
            self._wake.wait(max(PAUSE_SECONDS, PAUSE_SHARE * min(time.monotonic() - started, 0.5)))
            self._wake.clear()

    def _round(self) -> None:
        """Look through all collections once, and bring those that are behind up to date."""
        try:
            for collection in self._ledger.collections():
                for kind in EntityKind:
                    if self._stop.is_set():
                        return
                    self._applier.catch_up(collection, kind, time.monotonic() + TURN_SECONDS)
            if time.monotonic() - self._swept > SWEEP_SECONDS:
                self.sweep(time.monotonic() + TURN_SECONDS)
                self._swept = time.monotonic()
        finally:
            self._look()

    def _look(self) -> None:
        """Count what is behind."""
        self._behind = sum(
            max(0, collection.change_number - self._applier.reached(collection.key, kind))
            for collection in self._ledger.collections()
            for kind in EntityKind
        )
        if not self._behind:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = time.monotonic()
