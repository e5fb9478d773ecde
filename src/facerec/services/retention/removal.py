"""Removing faces with all that hangs on them, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence

from facerec.db import Connection
from facerec.domain import Collection, RowKey
from facerec.metastore import expiry, faces, users
from facerec.metastore.expiry import Present
from facerec.services.aggregates import mirror_user, renew_aggregate


def remove_faces(connection: Connection, target: Collection, keys: Sequence[RowKey]) -> list[str]:
    """Delete faces, whoever's they are, of the collection and its twin; ids of the users who had them.

    Those users' aggregates are made of the faces left, or are gone with the last one. The caller has locked
    the collection.
    """
    if not keys:
        return []
    owners = users.of_keys(connection, target, faces.owners(connection, keys))
    faces.delete(connection, target, keys)
    for user in owners.values():
        renew_aggregate(connection, target, user)
        mirror_user(connection, target, user.user_id)
    return [user.user_id for user in owners.values()]


def remove_past_of_users(
    connection: Connection, target: Collection, owners: Sequence[RowKey], present: Present
) -> None:
    """Delete those faces of some users that are past their time. The caller has locked the collection."""
    past = expiry.past_of_users(connection, owners, present)
    remove_faces(connection, target, [key for keys in past.values() for key in keys])
