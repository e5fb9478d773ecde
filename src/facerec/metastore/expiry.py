"""Faces that end: which are past their time, and the ends of faces and collections.

A face ends at its own end where it has one, else when the collection's time to live has passed since it was
stored. Readings leave out what is past its time, so that no moment depends on when the rows are removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from facerec.domain import FOREVER, Collection, CollectionKey, Face, RowKey
from facerec.metastore.tables import collections, faces


@dataclass(frozen=True, slots=True)
class Present:
    """What a face of one collection has to outlast to be there, in seconds since the epoch.

    A face with an end of its own is there while that is later than `now`, any other one where it was stored
    after `horizon`.
    """

    now: int
    horizon: int

    @classmethod
    def at(cls, now: float, time_to_live: int) -> Present:
        """At `now`, where faces without an end of their own are kept for `time_to_live` seconds."""
        return cls(int(now), int(now) - time_to_live)

    def holds(self, face: Face) -> bool:
        """Whether a face of the collection, whose row is there, is not past its time."""
        if face.expires_at is not None:
            return face.expires_at > self.now
        return face.stored_at > self.horizon

    @property
    def parameters(self) -> dict[str, int]:
        """Values of `IS_PRESENT`."""
        return {"now": self.now, "horizon": self.horizon}


STORED = Present(now=-1, horizon=-1)
"""Every face whose row is there, past its time or not."""

# Seconds that are left of it: an expression that no index serves, for rows found by another one.
_LEFT = sa.func.coalesce(
    faces.c.expires_at - sa.bindparam("now"), faces.c.stored_at - sa.bindparam("horizon")
)

IS_PRESENT: sa.ColumnElement[bool] = _LEFT > 0
"""Condition on a row of faces; takes `Present.parameters`."""

_OWN_PAST = sa.and_(faces.c.expires_at.is_not(None), faces.c.expires_at <= sa.bindparam("now"))
_INHERITED_PAST = sa.and_(faces.c.expires_at.is_(None), faces.c.stored_at <= sa.bindparam("horizon"))
_IN_COLLECTION = faces.c.collection_key == sa.bindparam("collection")
_PAST = tuple(sa.select(faces.c.key).where(_IN_COLLECTION, past) for past in (_OWN_PAST, _INHERITED_PAST))
_SOME_PAST = tuple(query.limit(sa.bindparam("limit")) for query in _PAST)
_COUNT_PAST = tuple(sa.select(sa.func.count()).select_from(query.subquery()) for query in _PAST)


def any_past(connection: sa.Connection, collection: Collection, present: Present) -> bool:
    """Whether the collection has rows of faces past their time. Two looks into an index."""
    return bool(past(connection, collection, present, 1))


def past(connection: sa.Connection, collection: Collection, present: Present, limit: int) -> list[RowKey]:
    """Keys of up to `limit` faces of the collection that are past their time."""
    found: list[RowKey] = []
    for query in _SOME_PAST:
        values = {"collection": collection.key, **present.parameters, "limit": limit - len(found)}
        found += [RowKey(key) for key in connection.scalars(query, values)]
        if len(found) >= limit:
            break
    return found


def count_past(connection: sa.Connection, collection: Collection, present: Present) -> int:
    """How many faces of the collection are past their time."""
    values = {"collection": collection.key, **present.parameters}
    return sum(connection.scalar(query, values) or 0 for query in _COUNT_PAST)


def past_of_users(
    connection: sa.Connection, users: Sequence[RowKey], present: Present
) -> dict[RowKey, list[RowKey]]:
    """Keys of the faces of these users that are past their time, by user; users without any are left out."""
    found: dict[RowKey, list[RowKey]] = {}
    if users:
        query = sa.select(faces.c.user_key, faces.c.key).where(faces.c.user_key.in_(users), _LEFT <= 0)
        for user, key in connection.execute(query, present.parameters):
            found.setdefault(RowKey(user), []).append(RowKey(key))
    return found


def collections_with_past(connection: sa.Connection, now: float, default_ttl: int) -> list[CollectionKey]:
    """Collections with faces past their time; default_ttl: seconds, where a collection has none."""
    own = sa.exists().where(faces.c.collection_key == collections.c.key, _OWN_PAST)
    horizon = int(now) - sa.func.coalesce(collections.c.face_ttl, default_ttl)
    inherited = sa.exists().where(
        faces.c.collection_key == collections.c.key,
        faces.c.expires_at.is_(None),
        faces.c.stored_at <= horizon,
    )
    query = sa.select(collections.c.key).where(collections.c.name.is_not(None), sa.or_(own, inherited))
    return [CollectionKey(key) for key in connection.scalars(query, {"now": int(now)})]


def set_face_ttl(connection: sa.Connection, collection: Collection, seconds: int | None) -> None:
    """Set how long the collection, and its twin, keep faces; None: as long as the service's default says."""
    connection.execute(
        collections.update()
        .where(collections.c.key.in_([collection.key, collection.twin or collection.key]))
        .values(face_ttl=seconds)
    )


def set_ends(connection: sa.Connection, keys: Sequence[RowKey], end: int | None) -> None:
    """Give faces an end (FOREVER: none ever); None: by their collection's time to live."""
    value = None if end is None else min(end, FOREVER)
    connection.execute(faces.update().where(faces.c.key.in_(keys)).values(expires_at=value))
