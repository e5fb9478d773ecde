"""Client request tokens: what was answered to a request, kept for a day in the transaction of its change."""

from __future__ import annotations

import json
from collections.abc import Iterable

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
    remove_expired(connection, now)
    connection.execute(
        client_tokens.insert().values(
            operation=operation, token=token, parameters=parameters, outcome=outcome, created_at=now
        )
    )


def remove_expired(connection: sa.Connection, now: float) -> int:
    """Forget the tokens that have expired by `now`; how many there were."""
    expired = client_tokens.c.created_at <= now - LIFETIME_SECONDS
    return connection.execute(client_tokens.delete().where(expired)).rowcount


def count_expired(connection: sa.Connection, now: float) -> int:
    """How many tokens have expired by `now`."""
    expired = client_tokens.c.created_at <= now - LIFETIME_SECONDS
    return connection.scalar(sa.select(sa.func.count()).select_from(client_tokens).where(expired)) or 0


def remove_mentions(connection: sa.Connection, *, ids: Iterable[str], parameters: Iterable[bytes]) -> int:
    """Forget the tokens whose answers mention one of these ids, or whose parameters have these digests.

    How many there were. A request that is repeated with such a token is done anew.
    """
    return connection.execute(client_tokens.delete().where(_mentions(ids, parameters))).rowcount


def count_mentions(connection: sa.Connection, *, ids: Iterable[str], parameters: Iterable[bytes]) -> int:
    """How many tokens `remove_mentions` would forget."""
    query = sa.select(sa.func.count()).select_from(client_tokens).where(_mentions(ids, parameters))
    return connection.scalar(query) or 0


def _mentions(ids: Iterable[str], parameters: Iterable[bytes]) -> sa.ColumnElement[bool]:
    """Answers are JSON: an id stands there in quotation marks."""
    mentioned = [client_tokens.c.outcome.contains(json.dumps(each), autoescape=True) for each in ids]
    return sa.or_(client_tokens.c.parameters.in_(list(parameters)), *mentioned)
