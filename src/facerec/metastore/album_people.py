"""People of albums: who they are to their album, which faces are theirs, and which are said not to be.

A face is one person's at most. Whatever changes here holds the album's row first and its collection's second;
each change raises the album's `people_version`, by which a grouping knows that it was overtaken.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NewType

import sqlalchemy as sa

from facerec.db.prepared import Prepared
from facerec.domain import BoundingBox, CollectionKey, RowKey
from facerec.metastore.albums import Album, AlbumKey
from facerec.metastore.expiry import IS_PRESENT, Present
from facerec.metastore.items import ItemState
from facerec.metastore.tables import (
    album_images,
    album_people,
    album_person_exclusions,
    album_person_faces,
    albums,
    collections,
    faces,
)

PersonKey = NewType("PersonKey", int)
"""Database key of a person of an album. Never reused."""

_BOX = struct.Struct("<4f")

# Asked after every image, so built once.
_WAITING = Prepared(
    sa.select(album_images.c.number)
    .where(album_images.c.album_key == sa.bindparam("album"), album_images.c.state == int(ItemState.WAITING))
    .limit(1)
)

MOST_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class AlbumPerson:
    """A person of an album."""

    key: PersonKey
    person_id: str
    """UUID."""
    name: str | None
    hidden: bool
    confirmed: bool
    """Whether somebody has said something about this person: then no grouping takes a face away."""
    version: int
    """Raised by each change of the person that is not a grouping's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonFace:
    """A face of a person, and the photo that it is in."""

    key: RowKey
    face_id: str
    image_id: str
    external_id: str | None
    source: str | None
    box: BoundingBox
    confidence: float


@dataclass(frozen=True, slots=True)
class PlacedFace:
    """A face, whose it is, and how well it shows them: the more, the better (from 0)."""

    face: RowKey
    person: PersonKey
    fitness: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where the people of an album stand."""

    version: int
    """Another one after each change of people."""
    number: int
    """Change number of the collection up to which its faces have people."""


# --- people ------------------------------------------------------------------------------------------


def insert(connection: sa.Connection, album: Album, person_ids: Sequence[str]) -> None:
    """Make people without faces, of whom nobody has said anything."""
    if person_ids:
        rows = [
            {
                "album_key": album.key,
                "person_id": uuid.UUID(each).bytes,
                "hidden": False,
                "confirmed": False,
                "version": 1,
            }
            for each in person_ids
        ]
        connection.execute(album_people.insert(), rows)


def find(connection: sa.Connection, album: Album, person_ids: Iterable[str]) -> dict[str, AlbumPerson]:
    """The people of an album with these ids, by id; what is no UUID is nobody's."""
    wanted = list(_binary(person_ids))
    found: dict[str, AlbumPerson] = {}
    for start in range(0, len(wanted), MOST_AT_ONCE):
        some = album_people.c.person_id.in_(wanted[start : start + MOST_AT_ONCE])
        query = sa.select(album_people).where(album_people.c.album_key == album.key, some)
        found.update({person.person_id: person for person in map(_person, connection.execute(query))})
    return found


def every(connection: sa.Connection, album: Album) -> list[AlbumPerson]:
    """All people of an album, oldest first."""
    query = sa.select(album_people).where(album_people.c.album_key == album.key)
    return [_person(row) for row in connection.execute(query.order_by(album_people.c.key))]


def list_after(
    connection: sa.Connection,
    album: Album,
    after: tuple[int, int] | None,
    limit: int,
    *,
    present: Present,
    least: int = 1,
    hidden: bool = False,
) -> list[tuple[AlbumPerson, int]]:
    """Up to `limit` people with the number of their faces, most of them first, then oldest first.

    after: number and key of the last one before. least: faces that they have at least. hidden: those too.
    """
    number = sa.func.count()
    query = (
        sa.select(album_people, number.label("faces"))
        .select_from(_with_faces())
        .where(album_people.c.album_key == album.key, IS_PRESENT)
        .group_by(album_people.c.key)
        .having(number >= least)
    )
    if not hidden:
        query = query.where(sa.not_(album_people.c.hidden))
    if after is not None:
        later = sa.and_(number == after[0], album_people.c.key > after[1])
        query = query.having(sa.or_(number < after[0], later))
    query = query.order_by(number.desc(), album_people.c.key).limit(limit)
    return [(_person(row), row.faces) for row in connection.execute(query, present.parameters)]


def update(connection: sa.Connection, person: AlbumPerson, **values: Any) -> None:
    """Change a person, who is confirmed by that."""
    connection.execute(
        album_people.update()
        .where(album_people.c.key == person.key)
        .values(confirmed=True, version=album_people.c.version + 1, **values)
    )


def remove(connection: sa.Connection, keys: Sequence[PersonKey]) -> None:
    """Remove people; their faces are nobody's."""
    for start in range(0, len(keys), MOST_AT_ONCE):
        some = keys[start : start + MOST_AT_ONCE]
        for table in (album_person_faces, album_person_exclusions):
            connection.execute(table.delete().where(table.c.person_key.in_(some)))
        connection.execute(album_people.delete().where(album_people.c.key.in_(some)))


def remove_empty(connection: sa.Connection, keys: Sequence[PersonKey]) -> None:
    """Remove those of some people who have no face."""
    if keys:
        empty = _EMPTY.where(album_people.c.key.in_(keys))
        remove(connection, [PersonKey(key) for key in connection.scalars(empty)])


def remove_empty_of(connection: sa.Connection, album: Album) -> None:
    """Remove the people of an album who have no face."""
    empty = _EMPTY.where(album_people.c.album_key == album.key)
    remove(connection, [PersonKey(key) for key in connection.scalars(empty)])


def remove_some(connection: sa.Connection, key: AlbumKey, limit: int) -> int:
    """Remove up to `limit` people of a deleted album with all that is known of them; how many there were.

    Processes that remove the same one take turns.
    """
    connection.execute(sa.select(albums.c.key).where(albums.c.key == key).with_for_update())
    query = sa.select(album_people.c.key).where(album_people.c.album_key == key).limit(limit)
    found = [PersonKey(each) for each in connection.scalars(query)]
    remove(connection, found)
    return len(found)


# --- faces -------------------------------------------------------------------------------------------


def faces_after(
    connection: sa.Connection, person: AlbumPerson, after: int, limit: int, *, present: Present
) -> list[PersonFace]:
    """Up to `limit` faces of a person with a key greater than `after`, in its order."""
    query = _FACES.where(album_person_faces.c.person_key == person.key, faces.c.key > after, IS_PRESENT)
    found = connection.execute(query.order_by(faces.c.key).limit(limit), present.parameters)
    return [_face(row) for row in found.all()]


def count_faces(connection: sa.Connection, person: AlbumPerson, *, present: Present) -> int:
    """How many faces a person has."""
    query = sa.select(sa.func.count()).select_from(_with_faces())
    return (
        connection.scalar(query.where(album_people.c.key == person.key, IS_PRESENT), present.parameters) or 0
    )


def best_faces(
    connection: sa.Connection, people: Sequence[PersonKey], *, present: Present
) -> dict[PersonKey, PersonFace]:
    """The face that shows each of these people best."""
    place = sa.func.row_number().over(
        partition_by=album_person_faces.c.person_key,
        order_by=(album_person_faces.c.fitness.desc(), album_person_faces.c.face_key),
    )
    ranked = _FACES.add_columns(album_person_faces.c.person_key, place.label("place"))
    ranked_rows = ranked.where(album_person_faces.c.person_key.in_(people), IS_PRESENT).subquery()
    query = sa.select(ranked_rows).where(ranked_rows.c.place == 1)
    found = connection.execute(query, present.parameters) if people else ()
    return {PersonKey(row.person_key): _face(row) for row in found}


def members(connection: sa.Connection, album: Album) -> dict[RowKey, PersonKey]:
    """Whose each face of an album is, by the face's key; faces that are nobody's are left out."""
    query = (
        sa.select(album_person_faces.c.face_key, album_person_faces.c.person_key)
        .join(album_people, album_people.c.key == album_person_faces.c.person_key)
        .where(album_people.c.album_key == album.key)
    )
    return {RowKey(face): PersonKey(person) for face, person in connection.execute(query)}


def photos_of(connection: sa.Connection, people: Sequence[PersonKey]) -> list[tuple[bytes, str | None]]:
    """The photo of each face of these people: its image id and external id."""
    query = sa.select(faces.c.image_id, faces.c.external_image_id).where(
        faces.c.key == album_person_faces.c.face_key, album_person_faces.c.person_key.in_(people)
    )
    return [(bytes(image), external) for image, external in connection.execute(query)]


def owned(connection: sa.Connection, person: AlbumPerson, face_ids: Iterable[str]) -> dict[str, RowKey]:
    """Keys of those of some faces that are the person's, by face id."""
    wanted = list(_binary(face_ids))
    found: dict[str, RowKey] = {}
    for start in range(0, len(wanted), MOST_AT_ONCE):
        query = sa.select(faces.c.face_id, faces.c.key).where(
            faces.c.key == album_person_faces.c.face_key,
            album_person_faces.c.person_key == person.key,
            faces.c.face_id.in_(wanted[start : start + MOST_AT_ONCE]),
        )
        found.update({_text(face_id): RowKey(key) for face_id, key in connection.execute(query)})
    return found


def place(connection: sa.Connection, placed: Sequence[PlacedFace]) -> None:
    """Give faces that are nobody's to people."""
    if placed:
        rows = [{"face_key": p.face, "person_key": p.person, "fitness": p.fitness} for p in placed]
        connection.execute(album_person_faces.insert(), rows)


def stored(connection: sa.Connection, collection: CollectionKey, keys: Sequence[RowKey]) -> set[RowKey]:
    """Those of some faces of a collection that are there still."""
    found: set[RowKey] = set()
    for start in range(0, len(keys), MOST_AT_ONCE):
        query = sa.select(faces.c.key).where(
            faces.c.key.in_(keys[start : start + MOST_AT_ONCE]), faces.c.collection_key == collection
        )
        found.update(RowKey(key) for key in connection.scalars(query))
    return found


def hand_over(connection: sa.Connection, keys: Sequence[RowKey], to: PersonKey) -> None:
    """Give faces that are somebody's to another person."""
    for start in range(0, len(keys), MOST_AT_ONCE):
        some = album_person_faces.c.face_key.in_(keys[start : start + MOST_AT_ONCE])
        connection.execute(album_person_faces.update().where(some).values(person_key=to))


def release(connection: sa.Connection, keys: Sequence[RowKey]) -> None:
    """Make faces nobody's."""
    for start in range(0, len(keys), MOST_AT_ONCE):
        some = album_person_faces.c.face_key.in_(keys[start : start + MOST_AT_ONCE])
        connection.execute(album_person_faces.delete().where(some))


def unite(connection: sa.Connection, into: PersonKey, gone: Sequence[PersonKey]) -> None:
    """Give one person all faces of others, who are removed, and what was said not to be theirs.

    A face that was said not to be one of them, and is another one's of them, is theirs from now on.
    """
    for start in range(0, len(gone), MOST_AT_ONCE):
        some = gone[start : start + MOST_AT_ONCE]
        others = album_person_faces.c.person_key.in_(some)
        connection.execute(album_person_faces.update().where(others).values(person_key=into))
        _copy_exclusions(connection, some, into)
    own = sa.select(album_person_faces.c.face_key).where(album_person_faces.c.person_key == into)
    connection.execute(
        album_person_exclusions.delete().where(
            album_person_exclusions.c.person_key == into, album_person_exclusions.c.face_key.in_(own)
        )
    )
    remove(connection, gone)


def exclude(connection: sa.Connection, person: PersonKey, keys: Sequence[RowKey]) -> None:
    """Note that faces are not this person."""
    rows = [{"person_key": person, "face_key": key} for key in keys]
    connection.execute(album_person_exclusions.insert(), rows)


def inherit_exclusions(connection: sa.Connection, person: PersonKey, to: PersonKey) -> None:
    """What was said not to be a person's is not another's either, who was a part of them."""
    _copy_exclusions(connection, [person], to)


def exclusions(connection: sa.Connection, album: Album) -> list[tuple[PersonKey, RowKey]]:
    """The faces that are said not to be people of an album."""
    query = (
        sa.select(album_person_exclusions.c.person_key, album_person_exclusions.c.face_key)
        .join(album_people, album_people.c.key == album_person_exclusions.c.person_key)
        .where(album_people.c.album_key == album.key)
    )
    return [(PersonKey(person), RowKey(face)) for person, face in connection.execute(query)]


# --- where they stand -----------------------------------------------------------------------------------


def standing(connection: sa.Connection, album: Album) -> Standing:
    """Where the people of an album stand."""
    query = sa.select(albums.c.people_version, albums.c.people_number).where(albums.c.key == album.key)
    version, number = connection.execute(query).one()
    return Standing(version=version, number=number)


def advance(connection: sa.Connection, album: Album, *, number: int | None = None) -> None:
    """Note a change of people; number: of the collection's change up to which faces have people (None: as
    before). The caller has locked the album."""
    values: dict[str, Any] = {"people_version": albums.c.people_version + 1}
    if number is not None:
        values["people_number"] = number
    connection.execute(albums.update().where(albums.c.key == album.key).values(**values))


def is_at_rest(connection: sa.Connection, key: AlbumKey) -> bool:
    """Whether no image of the album waits."""
    return not _WAITING.rows(connection, {"album": key})


def behind(connection: sa.Connection) -> list[AlbumKey]:
    """Albums at rest, the collections of which have changed since their faces were given people."""
    waiting = sa.exists().where(
        album_images.c.album_key == albums.c.key, album_images.c.state == ItemState.WAITING
    )
    query = (
        sa.select(albums.c.key)
        .join(
            collections,
            sa.and_(
                collections.c.name == albums.c.collection,
                collections.c.created_at == albums.c.collection_created_at,
            ),
        )
        .where(
            albums.c.album_id.is_not(None),
            albums.c.manifest.is_(None),
            collections.c.change_number != albums.c.people_number,
            ~waiting,
        )
    )
    return [AlbumKey(key) for key in connection.scalars(query)]


def follow(connection: sa.Connection, old: CollectionKey, new: CollectionKey) -> None:
    """Let what is known of the faces of one collection be known of those of the same ids in its twin."""
    twins, own = faces.alias(), faces.alias()
    for table in (album_person_faces, album_person_exclusions):
        twin = (
            sa.select(twins.c.key)
            .join(own, own.c.face_id == twins.c.face_id)
            .where(own.c.key == table.c.face_key, twins.c.collection_key == new)
            .correlate(table)
            .scalar_subquery()
        )
        of_old = sa.select(faces.c.key).where(faces.c.collection_key == old)
        connection.execute(
            table.update().where(table.c.face_key.in_(of_old), twin.is_not(None)).values(face_key=twin)
        )


def owners(connection: sa.Connection, keys: Sequence[RowKey]) -> list[PersonKey]:
    """The people whose some faces are."""
    query = (
        sa.select(album_person_faces.c.person_key).where(album_person_faces.c.face_key.in_(keys)).distinct()
    )
    return [PersonKey(key) for key in connection.scalars(query)]


def _copy_exclusions(connection: sa.Connection, people: Sequence[PersonKey], to: PersonKey) -> None:
    """Note for one person what is noted for others, where it is not noted yet."""
    table, known = album_person_exclusions, album_person_exclusions.alias()
    wanted = (
        sa.select(sa.literal(to), table.c.face_key)
        .where(
            table.c.person_key.in_(people),
            ~sa.exists().where(known.c.person_key == to, known.c.face_key == table.c.face_key),
        )
        .distinct()
    )
    connection.execute(table.insert().from_select(["person_key", "face_key"], wanted))


def _with_faces() -> sa.FromClause:
    joined = album_people.join(album_person_faces, album_person_faces.c.person_key == album_people.c.key)
    return joined.join(faces, faces.c.key == album_person_faces.c.face_key)


_EMPTY = sa.select(album_people.c.key).where(
    ~sa.exists().where(album_person_faces.c.person_key == album_people.c.key)
)

_FACES = sa.select(
    faces.c.key,
    faces.c.face_id,
    faces.c.image_id,
    faces.c.external_image_id,
    faces.c.source,
    faces.c.box,
    faces.c.confidence,
).join_from(album_person_faces, faces, faces.c.key == album_person_faces.c.face_key)


def _person(row: sa.Row[Any]) -> AlbumPerson:
    return AlbumPerson(
        key=PersonKey(row.key),
        person_id=_text(row.person_id),
        name=row.name,
        hidden=row.hidden,
        confirmed=row.confirmed,
        version=row.version,
    )


def _face(row: sa.Row[*tuple[Any, ...]]) -> PersonFace:
    left, top, width, height = _BOX.unpack(row.box)
    return PersonFace(
        key=RowKey(row.key),
        face_id=_text(row.face_id),
        image_id=_text(row.image_id),
        external_id=row.external_image_id,
        source=row.source,
        box=BoundingBox(left=left, top=top, width=width, height=height),
        confidence=row.confidence,
    )


def _binary(ids: Iterable[str]) -> Iterable[bytes]:
    for each in ids:
        try:
            yield uuid.UUID(each).bytes
        except ValueError:
            continue


def _text(value: bytes) -> str:
    return str(uuid.UUID(bytes=bytes(value)))
