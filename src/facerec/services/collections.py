"""Use cases on collections and their tags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from facerec.config import duration_text
from facerec.db import Connection, Database
from facerec.domain import Collection, CollectionKey, Page
from facerec.errors import QuotaExceeded
from facerec.metastore import collections, expiry
from facerec.metastore import tags as tag_rows
from facerec.services.engines import Engines
from facerec.services.pagination import PageTokens, page_size
from facerec.services.retention.lifetimes import Lifetimes
from facerec.services.retention.tags import FACE_TTL, follow_tags, unfollow_tags
from facerec.vectors.base import VectorStore

MAX_TAGS = 200
"""Most tags of a collection."""

DEFAULT_PAGE = 1000
LARGEST_PAGE = 4096

REMOVAL_STEP = 25_000
"""Rows of a deleted collection removed in one transaction: every step rewrites much of the indexes, and other
writers wait for it, up to 0.7 seconds on a busy machine of two processors. A million faces of 512
dimensions take ten seconds so; with steps of 10 000 it is twice that."""


class CollectionService:
    """Makes, describes, lists, tags and deletes collections. Safe to call from many threads."""

    def __init__(
        self,
        database: Database,
        vectors: VectorStore,
        engines: Engines,
        *,
        lifetimes: Lifetimes | None = None,
    ) -> None:
        """lifetimes: when faces end (None: unless told, never), and the clock."""
        self._database = database
        self._vectors = vectors
        self._engines = engines
        self._lifetimes = lifetimes or Lifetimes()
        self._tokens = PageTokens(database)

    def create(self, name: str, tags: Mapping[str, str] | None = None) -> Collection:
        """Make an empty collection for the default engine's vectors. Raises AlreadyExists, QuotaExceeded."""
        with self._database.write() as connection:
            collection = collections.insert(
                connection,
                name=name,
                contract=self._engines.default.contract,
                created_at=self._lifetimes.clock(),
            )
            _put_tags(connection, collection, tags or {})
        return collection

    def delete(self, name: str) -> None:
        """Delete a collection with its faces and users: all are gone when this returns. Raises NotFound.

        The name is free at once. When the process dies on the way, the next deletion or `finish_deletions`
        removes the rest, which nobody can see.
        """
        with self._database.write() as connection:
            collections.mark_deleted(connection, collections.find(connection, name, lock=True).key)
        self.finish_deletions()

    def finish_deletions(self) -> None:
        """Remove what is left of deleted collections, in small transactions."""
        remove_deleted(self._database, self._vectors)

    def describe(self, name: str) -> Collection:
        """The collection of that name, its faces counted without those past their time. Raises NotFound."""
        with self._database.read() as connection:
            found = collections.find(connection, name)
            past = expiry.count_past(connection, found, self._lifetimes.present(found))
        return replace(found, face_count=found.face_count - past)

    def retain(self, name: str, seconds: int | None) -> Collection:
        """Keep the collection's faces for `seconds` from when they were stored; the collection then.

        Of all faces without an end of their own, also those that are there. FOREVER: no end; None: as long as
        the service's default says. Raises NotFound, QuotaExceeded (200 tags).
        """
        if seconds is None:
            self.untag(name, [FACE_TTL])
        else:
            self.tag(name, {FACE_TTL: duration_text(seconds)})
        return self.describe(name)

    def list(self, *, limit: int | None = None, token: str | None = None) -> Page[Collection]:
        """A page of the collections, oldest first: `limit` (1000; at most 4096) from where `token` says.

        Raises InvalidPaginationToken.
        """
        size = page_size(limit, DEFAULT_PAGE, LARGEST_PAGE)
        after = self._tokens.read_number(token, "collections")
        with self._database.read() as connection:
            found = collections.list_after(connection, after, size + 1)
        more = len(found) > size
        items = tuple(found[:size])
        return Page(items, self._tokens.make(items[-1].key, "collections") if more else None)

    def tag(self, name: str, tags: Mapping[str, str]) -> None:
        """Set tags, replacing those of the same name.

        Raises NotFound, QuotaExceeded (200 tags), InvalidParameter for a reserved tag that is not understood.
        """
        with self._database.write() as connection:
            _put_tags(connection, collections.find(connection, name, lock=True), tags)

    def untag(self, name: str, keys: Iterable[str]) -> None:
        """Remove tags; unknown ones are a no-op. Raises NotFound."""
        with self._database.write() as connection:
            collection = collections.find(connection, name, lock=True)
            keys = list(keys)
            unfollow_tags(connection, collection, keys)
            tag_rows.remove(connection, collection, keys)

    def tags(self, name: str) -> dict[str, str]:
        """The tags of a collection. Raises NotFound."""
        with self._database.read() as connection:
            return tag_rows.read(connection, collections.find(connection, name))


def remove_deleted(database: Database, vectors: VectorStore) -> None:
    """Remove what is left of deleted collections, in small transactions. Raises StorageError."""
    with database.read() as connection:
        keys = collections.awaiting_removal(connection)
    for key in keys:
        vectors.drop(key)
        while not _remove_some(database, key):
            pass


def _remove_some(database: Database, key: CollectionKey) -> bool:
    with database.write(sweep=True) as connection:
        return collections.remove_some(connection, key, REMOVAL_STEP)


def _put_tags(connection: Connection, collection: Collection, tags: Mapping[str, str]) -> None:
    """Set tags within the limit on their number, and do what reserved ones say."""
    follow_tags(connection, collection, tags)
    tag_rows.put(connection, collection, tags)
    number = len(tag_rows.read(connection, collection))
    if number > MAX_TAGS:
        raise QuotaExceeded(
            f"The collection id: {collection.name} would have {number} tags; at most {MAX_TAGS} are allowed."
        )
