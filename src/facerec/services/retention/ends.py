"""Ends of faces: given to single ones, whatever their collection says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from facerec.db import Database
from facerec.domain import Face
from facerec.metastore import collections, expiry, faces
from facerec.services.retention.lifetimes import Lifetimes


@dataclass(frozen=True, slots=True)
class EndsSet:
    """Faces whose end was set, as they are now, and ids that no face of the collection has."""

    faces: tuple[Face, ...]
    not_found: tuple[str, ...]


class EndService:
    """Sets ends. Safe to call from many threads."""

    def __init__(self, database: Database, lifetimes: Lifetimes) -> None:
        self._database = database
        self._lifetimes = lifetimes

    def set(self, collection: str, face_ids: Sequence[str], seconds: int | None) -> EndsSet:
        """Keep faces for `seconds` from now (FOREVER: no end); None: as long as their collection keeps faces.

        Raises NotFound for the collection.
        """
        end = self._lifetimes.end_after(seconds)
        with self._database.write() as connection:
            target = collections.find(connection, collection, lock=True)
            present = self._lifetimes.present(target)
            found = faces.find(connection, target, face_ids, present=present)
            keys = [face.key for face in found.values()]
            if target.twin is not None:
                keys += faces.in_twin(connection, target, keys).values()
            expiry.set_ends(connection, keys, end)
            changed = faces.find(connection, target, face_ids)
        return EndsSet(
            tuple(changed[face_id] for face_id in dict.fromkeys(face_ids) if face_id in found),
            tuple(face_id for face_id in dict.fromkeys(face_ids) if face_id not in found),
        )
