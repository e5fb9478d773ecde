"""How many times a service, its database or its vector store is killed: FACEREC_TEST_KILLS (`make kills`)."""

from __future__ import annotations

import os


def times(usual: int) -> int:
    """As many as FACEREC_TEST_KILLS says, and without it few, as the tests of every day have to be quick."""
    return int(os.environ.get("FACEREC_TEST_KILLS", usual))
