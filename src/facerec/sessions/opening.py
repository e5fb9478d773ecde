"""Opens the session store that the settings name."""

from __future__ import annotations

import importlib.util

from facerec.config import Settings
from facerec.db import Database
from facerec.errors import ConfigurationError
from facerec.sessions.base import SessionStore
from facerec.sessions.embedded import EmbeddedSessions


def open_sessions(settings: Settings, database: Database) -> SessionStore:
    """Open the store of `REDIS_URL`, or the one in `database` without it.

    A Redis that is away is no error yet: what needs it raises SessionStoreUnavailable until it is back.
    Raises ConfigurationError for an address that can not be read, or without the package `redis`.
    """
    if settings.redis_url is None:
        # On PostgreSQL there may be other machines; a SQLite file is this machine's alone.
        return EmbeddedSessions(database, alone=settings.workers == 1 and database.name == "sqlite")
    if importlib.util.find_spec("redis") is None:
        raise ConfigurationError("REDIS_URL needs the client of Redis: pip install 'facerec[redis]'")
    from facerec.sessions.redis import RedisSessions  # imported here: not everyone has the package

    return RedisSessions(settings.redis_url, cipher=database.cipher)
