"""Client request tokens: what was answered to a request, kept for a day in the transaction of its change."""

from __future__ import annotations

import sqlalchemy as sa

from facerec.errors import IdempotencyMismatch
from facerec.metastore.tables import client_tokens

LIFETIME_SECONDS = 24 * 3600.0
"""How long an answer is remembered."""


def recall(
    connection: sa.Connection, operation: str, token: str, *, parameters: bytes, now: float
) -> str | None:
    """The outcome (JSON) that was remembered for this request; None for a new token.

    parameters: digest of everything else in the request. Raises IdempotencyMismatch when the token came with
    other parameters.
    """
    row = connection.execute(
        sa.select(client_tokens.c.parameters, client_tokens.c.outcome).where(
            client_tokens.c.operation == operation,
            client_tokens.c.token == token,
            client_tokens.c.created_at > now - LIFETIME_SECONDS,
        )
    ).one_or_none()
    if row is None:
        return None
    if bytes(row.parameters) != parameters:
        raise IdempotencyMismatch(f"The ClientRequestToken: {token} you have supplied is already in use.")
    return str(row.outcome)


def remember(
    connection: sa.Connection, operation: str, token: str, *, parameters: bytes, outcome: str, now: float
) -> None:
    """Keep an outcome (JSON) for the token, and forget those that have expired."""
    connection.execute(client_tokens.delete().where(client_tokens.c.created_at <= now - LIFETIME_SECONDS))
    connection.execute(
        client_tokens.insert().values(
            operation=operation, token=token, parameters=parameters, outcome=outcome, created_at=now
        )
    )
