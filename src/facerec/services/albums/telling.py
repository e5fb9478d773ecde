"""Tells the service's webhook when an album is done: at least once, by whichever process comes to it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable

from facerec.db import Connection, Database
from facerec.errors import NoticeFailed
from facerec.metastore import album_listings, album_notices, albums, collections
from facerec.metastore.albums import Album, AlbumKey
from facerec.metastore.items import ItemState
from facerec.services.albums.service import state_of

ATTEMPTS = 10
"""Times that an end is told before it is given up: over some two hours."""

FIRST_PAUSE_SECONDS = 15.0

_log = logging.getLogger(__name__)


class AlbumTeller:
    """Tells what is to be told. Safe to call from many threads, and in several processes at once."""

    def __init__(
        self, database: Database, webhook: Callable[[str], None], *, clock: Callable[[], float] = time.time
    ) -> None:
        """webhook: sends a body to the service's webhook. Raises NoticeFailed."""
        self._database = database
        self._webhook = webhook
        self._clock = clock

    def tell(self) -> int:
        """Tell the ends that are due; how many were told."""
        with self._database.read() as connection:
            due = album_notices.due(connection, self._clock())
        return sum(self._tell(key) for key in due)

    def _tell(self, key: AlbumKey) -> bool:
        now = self._clock()
        with self._database.write() as connection:
            # Set before it is tried: a process that is killed in the midst leaves it to the next.
            taken = album_notices.take(connection, key, now=now, again_at=now + FIRST_PAUSE_SECONDS)
            album = albums.look_up(connection, key)
            if taken is None or album is None:
                return False
            body = notice(connection, album, now)
        attempt, awaited = taken
        try:
            self._webhook(body)
        except NoticeFailed as error:
            _log.warning("the end of an album was not told (%d. attempt): %s", attempt, error)
            if attempt < ATTEMPTS:
                with self._database.write() as connection:
                    again = now + FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)
                    album_notices.postpone(connection, key, awaited, again)
                return False
        with self._database.write() as connection:
            album_notices.settle(connection, key, awaited)
        return True


def notice(connection: Connection, album: Album, now: float) -> str:
    """The message on the end of an album's work, as JSON."""
    counts = albums.IMAGES.counts(connection, album.key)
    named = collections.look_up(connection, album.collection)
    return json.dumps(
        {
            "API": "Album" if album.manifest is None else "Import",
            "AlbumId": album.album_id,
            "CollectionId": album.collection,
            "Status": state_of(counts, album_listings.of_album(connection, album.key)).value,
            "Images": sum(counts.values()),
            "Done": counts[ItemState.DONE],
            "Failed": counts[ItemState.FAILED],
            "Cancelled": counts[ItemState.CANCELLED],
            "Faces": 0 if named is None else named.face_count,
            "Timestamp": round(now * 1000),
        }
    )
