"""The database's clock: machines whose clocks differ agree on it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import sqlalchemy as sa

NOW: Mapping[str, str] = MappingProxyType(
    {
        "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
        "postgresql": "CAST(extract(epoch FROM clock_timestamp()) AS double precision)",
    }
)
"""Seconds since the epoch, as an expression of each kind of database."""

_ASK = {name: sa.text(f"SELECT {expression}") for name, expression in NOW.items()}


def database_time(connection: sa.Connection) -> float:
    """Seconds since the epoch by the database's clock."""
    return float(connection.scalar(_ASK[connection.dialect.name]) or 0.0)
