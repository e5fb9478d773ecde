"""Use cases on the people of an album: list, see photos, name, hide, merge, split, "not this person".

Whoever was named, hidden, merged, split or freed of a face is *confirmed*: no grouping takes a face from them
or makes two of them one, new faces only join. Everybody else is what the last grouping made of them. What
people say holds until they say otherwise: merging takes back that two were told apart.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from facerec.db import Connection, Database
from facerec.domain import Collection, Page, RowKey
from facerec.errors import (
    AlbumNotFound,
    Conflict,
    InvalidParameter,
    PersonNotFound,
    QuotaExceeded,
    VersionConflict,
)
from facerec.metastore import album_people, albums, collections
from facerec.metastore.album_people import AlbumPerson, PersonFace
from facerec.metastore.albums import Album, AlbumImage
from facerec.services.albums.placing import PeoplePlacing
from facerec.services.pagination import PageTokens, page_size
from facerec.services.retention.lifetimes import Lifetimes

DEFAULT_PAGE = 100
LARGEST_PAGE = 1000

MOST_AT_ONCE = 1000
"""People of one merge, faces of one split."""

LONGEST_NAME = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonSummary:
    """A person of an album, in how many photos they are, and the face that shows them best."""

    person: AlbumPerson
    photos: int
    cover: PersonPhoto | None


@dataclass(frozen=True, slots=True)
class PersonPhoto:
    """A photo of a person, and their face in it: it has one of theirs, no more."""

    face: PersonFace
    image: AlbumImage | None
    """The album's row of it; None for one that a client indexed into the album's collection itself."""

    @property
    def source(self) -> str | None:
        """Where the photo lies, where that is known."""
        return self.face.source if self.image is None else self.image.source


@dataclass(frozen=True, slots=True)
class PeoplePage:
    """A page of people; `pending`: photos were added or removed, and are not looked through yet."""

    page: Page[PersonSummary]
    pending: bool


class AlbumPeople:
    """The people of albums. Safe to call from many threads."""

    def __init__(
        self, database: Database, placing: PeoplePlacing, *, lifetimes: Lifetimes | None = None
    ) -> None:
        """placing: is asked for a grouping where a change leaves a face without a person."""
        self._database = database
        self._placing = placing
        self._lifetimes = lifetimes or Lifetimes()
        self._tokens = PageTokens(database)

    def list(
        self,
        album_id: str,
        *,
        least: int = 1,
        hidden: bool = False,
        limit: int | None = None,
        token: str | None = None,
    ) -> PeoplePage:
        """A page of the people of an album, those in most photos first.

        least: photos that they are in at least. hidden: the hidden ones too. Raises AlbumNotFound,
        InvalidPaginationToken.
        """
        size = page_size(limit, DEFAULT_PAGE, LARGEST_PAGE)
        with self._database.read() as connection:
            album, collection = _open(connection, album_id)
            scope = ("album-people", album.key, least, hidden)
            cursor = self._tokens.read_text(token, *scope)
            number = album_people.standing(connection, album).number
            if collection is None:
                return PeoplePage(Page((), None), pending=False)
            found = album_people.list_after(
                connection,
                album,
                tuple(json.loads(cursor)) if cursor else None,
                size + 1,
                present=self._lifetimes.present(collection),
                least=least,
                hidden=hidden,
            )
            people = self._summaries(connection, album, collection, found[:size])
        more = None
        if len(found) > size:
            person, photos = found[size - 1]
            more = self._tokens.make(json.dumps([photos, person.key]), *scope)
        return PeoplePage(Page(people, more), pending=number != collection.change_number)

    def get(self, album_id: str, person_id: str) -> PersonSummary:
        """A person of an album. Raises AlbumNotFound, PersonNotFound."""
        with self._database.read() as connection:
            album, collection = _open(connection, album_id)
            (person,) = _people(connection, album, [person_id])
            return self._summary(connection, album, collection, person)

    def photos(
        self, album_id: str, person_id: str, *, limit: int | None = None, token: str | None = None
    ) -> Page[PersonPhoto]:
        """A page of the photos of a person, in the order in which they were indexed.

        Raises AlbumNotFound, PersonNotFound, InvalidPaginationToken.
        """
        size = page_size(limit, DEFAULT_PAGE, LARGEST_PAGE)
        with self._database.read() as connection:
            album, collection = _open(connection, album_id)
            (person,) = _people(connection, album, [person_id])
            scope = ("album-person-photos", person.key)
            after = self._tokens.read_number(token, *scope)
            if collection is None:
                return Page((), None)
            present = self._lifetimes.present(collection)
            found = album_people.faces_after(connection, person, after, size + 1, present=present)
            photos = _photos(connection, album, found[:size])
        more = self._tokens.make(found[size - 1].key, *scope) if len(found) > size else None
        return Page(tuple(photos), more)

    def update(
        self,
        album_id: str,
        person_id: str,
        *,
        name: str | None = None,
        hidden: bool | None = None,
        version: int | None = None,
    ) -> PersonSummary:
        """Name a person (an empty name takes it away), hide or show them; None leaves as it is.

        version: the one that was read; another one now is a VersionConflict. Raises AlbumNotFound,
        PersonNotFound, InvalidParameter.
        """
        if name is not None and (len(name) > LONGEST_NAME or "\0" in name):
            raise InvalidParameter(f"A name has at most {LONGEST_NAME} characters.")
        values: dict[str, object] = {} if name is None else {"name": name or None}
        if hidden is not None:
            values["hidden"] = hidden
        with self._database.write() as connection:
            album, collection = _open(connection, album_id, lock=True)
            (person,) = _people(connection, album, [person_id], version=version)
            album_people.update(connection, person, **values)
            album_people.advance(connection, album)
            (person,) = _people(connection, album, [person_id])
            return self._summary(connection, album, collection, person)

    def merge(self, album_id: str, person_ids: Sequence[str]) -> PersonSummary:
        """Make several people one: the first of them, with their name or the first that one of them has.

        Raises Conflict where two of them are in one photo, AlbumNotFound, PersonNotFound, InvalidParameter,
        QuotaExceeded.
        """
        wanted = list(dict.fromkeys(person_ids))
        if len(wanted) < 2:
            raise InvalidParameter("It takes two people to merge them.")
        _check_number(wanted, "people are merged")
        with self._database.write() as connection:
            album, collection = _open(connection, album_id, lock=True)
            people = _people(connection, album, wanted)
            photos = album_people.photos_of(connection, [person.key for person in people])
            if len(set(photos)) < len(photos):
                raise Conflict("Two of these people are in one photo together: they are not one person.")
            first, *rest = people
            album_people.unite(connection, first.key, [person.key for person in rest])
            name = next((person.name for person in people if person.name), None)
            album_people.update(connection, first, name=name)
            album_people.advance(connection, album)
            (first,) = _people(connection, album, [first.person_id])
            return self._summary(connection, album, collection, first)

    def split(self, album_id: str, person_id: str, face_ids: Sequence[str]) -> PersonSummary:
        """Make some faces of a person, not all, a person of their own, and give that.

        Neither is ever made one with the other again, unless they are merged. Raises Conflict where a face is
        not the person's or none would be left, AlbumNotFound, PersonNotFound, InvalidParameter,
        QuotaExceeded.
        """
        with self._database.write() as connection:
            album, collection = _open(connection, album_id, lock=True)
            (person,) = _people(connection, album, [person_id])
            keys = _own_faces(connection, person, face_ids)
            if len(keys) == len(album_people.photos_of(connection, [person.key])):
                raise Conflict("These are all faces of the person: none would be left.")
            made = str(uuid.uuid4())
            album_people.insert(connection, album, [made])
            (new,) = _people(connection, album, [made])
            album_people.hand_over(connection, keys, new.key)
            album_people.inherit_exclusions(connection, person.key, new.key)
            for each in (person, new):
                album_people.update(connection, each)
            album_people.advance(connection, album)
            (new,) = _people(connection, album, [made])
            return self._summary(connection, album, collection, new)

    def reject(self, album_id: str, person_id: str, face_ids: Sequence[str]) -> None:
        """Take faces from a person for good: no grouping gives them back. Others get them a little later.

        A person without any face is removed. Raises as `split` does, and JobQueueUnavailable: then they are
        taken, and are placed with the next photos.
        """
        with self._database.write() as connection:
            album, _ = _open(connection, album_id, lock=True)
            (person,) = _people(connection, album, [person_id])
            keys = _own_faces(connection, person, face_ids)
            album_people.release(connection, keys)
            album_people.exclude(connection, person.key, keys)
            album_people.update(connection, person)
            album_people.remove_empty(connection, [person.key])
            album_people.advance(connection, album, number=0)  # behind: they need people
        self._placing.ask(album)

    def regroup(self, album_id: str) -> None:
        """Have everybody grouped anew of whom nobody has said anything: names and what was said stay.

        Raises AlbumNotFound, JobQueueUnavailable.
        """
        with self._database.read() as connection:
            album, _ = _open(connection, album_id)
        self._placing.ask(album, anew=True)

    def _summary(
        self, connection: Connection, album: Album, collection: Collection | None, person: AlbumPerson
    ) -> PersonSummary:
        if collection is None:
            return PersonSummary(person=person, photos=0, cover=None)
        present = self._lifetimes.present(collection)
        number = album_people.count_faces(connection, person, present=present)
        return self._summaries(connection, album, collection, [(person, number)])[0]

    def _summaries(
        self,
        connection: Connection,
        album: Album,
        collection: Collection,
        people: Sequence[tuple[AlbumPerson, int]],
    ) -> tuple[PersonSummary, ...]:
        present = self._lifetimes.present(collection)
        best = album_people.best_faces(connection, [person.key for person, _ in people], present=present)
        covers = {each.face.key: each for each in _photos(connection, album, list(best.values()))}
        return tuple(
            PersonSummary(
                person=person,
                photos=number,
                cover=covers[best[person.key].key] if person.key in best else None,
            )
            for person, number in people
        )


def _open(connection: Connection, album_id: str, *, lock: bool = False) -> tuple[Album, Collection | None]:
    """An album, and its collection where it is there; with `lock`, both kept from other writers.

    Raises AlbumNotFound, for an import too: its faces are in the collection of others.
    """
    album = albums.find(connection, album_id, lock=lock)
    if album.manifest is not None:
        raise AlbumNotFound(f"{album_id} is an import: it has no people of its own")
    collection = collections.look_up(connection, album.collection, lock=lock)
    if collection is not None and collection.identity != album.collection_identity:
        collection = None
    return album, collection


def _people(
    connection: Connection, album: Album, person_ids: Sequence[str], *, version: int | None = None
) -> list[AlbumPerson]:
    """People by their ids, in their order. Raises PersonNotFound, VersionConflict."""
    found = album_people.find(connection, album, person_ids)
    for person_id in person_ids:
        if person_id not in found:
            raise PersonNotFound(f"The album {album.album_id} has no person {person_id[:64]}.")
        if version is not None and found[person_id].version != version:
            raise VersionConflict
    return [found[person_id] for person_id in person_ids]


def _own_faces(connection: Connection, person: AlbumPerson, face_ids: Sequence[str]) -> list[RowKey]:
    """Keys of faces that are all the person's. Raises Conflict, InvalidParameter, QuotaExceeded."""
    wanted = list(dict.fromkeys(face_ids))
    if not wanted:
        raise InvalidParameter("Name the faces that are meant.")
    _check_number(wanted, "faces are named")
    found = album_people.owned(connection, person, wanted)
    for face_id in wanted:
        if face_id not in found:
            raise Conflict(f"The face {face_id[:64]} is not one of this person's.")
    return list(found.values())


def _check_number(named: Sequence[str], what: str) -> None:
    if len(named) > MOST_AT_ONCE:
        raise QuotaExceeded(f"At most {MOST_AT_ONCE} {what} in one call.")


def _photos(connection: Connection, album: Album, found: Sequence[PersonFace]) -> list[PersonPhoto]:
    """The photos of faces."""
    rows = {
        (row.image_id, row.external_id): row
        for row in reversed(albums.images_of(connection, album, [face.image_id for face in found]))
    }
    return [PersonPhoto(face, rows.get((face.image_id, face.external_id or ""))) for face in found]
