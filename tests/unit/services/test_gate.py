"""The way in while the store of the rates is away."""

from __future__ import annotations

from pathlib import Path

import pytest

from facerec.access import RateLimit
from facerec.config import read_settings
from facerec.errors import RateExceeded, SessionStoreUnavailable
from facerec.metastore import open_metastore
from facerec.services.authentication import KeyRules
from facerec.services.gate import AWAY_SECONDS, Gate
from facerec.services.keys import KeyService
from facerec.sessions.embedded import EmbeddedSessions


class Away(EmbeddedSessions):
    """A store that does not answer, and counts how often it was asked."""

    asked = 0

    def take(self, bucket: str, *, per_second: float, burst: int) -> float:
        self.asked += 1
        raise SessionStoreUnavailable


def test_a_limit_holds_while_its_store_is_away(tmp_path: Path) -> None:
    settings = read_settings(data_dir=tmp_path)
    database = open_metastore(settings)
    rules = KeyRules(master_key_path=settings.master_key_path, clock_skew_seconds=300)
    keys = KeyService(database, rules)
    now = [0.0]
    store = Away(database, alone=True)
    gate = Gate(keys, store, RateLimit(3, 3600), clock=lambda: now[0])
    for _ in range(3):
        gate.by_api_key(None, host="127.0.0.1")
    with pytest.raises(RateExceeded):
        gate.by_api_key(None, host="127.0.0.1")
    assert store.asked == 1  # and not again, with its wait, for each request
    now[0] = AWAY_SECONDS
    with pytest.raises(RateExceeded):
        gate.by_api_key(None, host="127.0.0.1")
    assert store.asked == 2
    database.close()
