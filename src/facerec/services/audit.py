"""Who enrolled, searched and deleted whom, and when. Never an image, an embedding or a similarity."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from facerec.config import AuditPolicy
from facerec.db import Connection, Database
from facerec.domain import Page
from facerec.errors import StorageError
from facerec.metastore import audit, meta
from facerec.metastore.audit import AuditPlace, ChainState
from facerec.observability import RequestContext, request_context
from facerec.services.background import Background
from facerec.services.pagination import PageTokens

MOST_IDS = 50
"""Ids of each kind in an entry; how many there were is written too."""

MOST_WAITING = 10_000
"""Entries that wait in memory; with more the oldest are lost, and the log says so."""

PAUSE_SECONDS = 0.5
"""Between two times that what waits is written."""

OPEN = "open"
"""In place of a key's id, of a service without keys."""

DONE = "ok"
"""Outcome of what was done; else it is the code of the error."""

_log = logging.getLogger(__name__)


class Act(StrEnum):
    """What an operation does to people."""

    CHANGE = "change"
    SEARCH = "search"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """An operation and what it was about."""

    act: Act
    door: str
    operation: str
    collection: str | None
    outcome: str
    face_ids: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    """Ids that callers gave: of users, persons, external images. They are written as pseudonyms."""
    access_key: str | None = None
    """Id of the key that was made or changed, where it was about one."""


def deed_of(context: RequestContext, *, act: Act, door: str, operation: str, outcome: str) -> Deed:
    """What was done in a request, by what its context names by now."""
    return Deed(
        act=act,
        door=door,
        operation=operation,
        collection=context.collection,
        outcome=outcome,
        face_ids=tuple(dict.fromkeys(context.faces)),
        people=tuple(dict.fromkeys(context.people)),
        access_key=context.access_key,
    )


class AuditLog:
    """Writes what was done. Safe to call from many threads.

    A change that was made is written before this returns. Searches, and what was refused, are gathered and
    written within a second: a process that is killed loses those of its last second.
    """

    def __init__(
        self, database: Database, policy: AuditPolicy, *, clock: Callable[[], float] = time.time
    ) -> None:
        """clock: seconds since the epoch."""
        self._database = database
        self._policy = policy
        self._clock = clock
        self._chain = secrets.token_hex(8)
        with database.read() as connection:
            secret = meta.token_secret(connection)
        self._chain_key = _derived(secret, b"audit chain")
        self._name_key = _derived(secret, b"audit names")
        self._tokens = PageTokens(database)
        self._waiting: deque[tuple[float, str]] = deque()
        self._lost = 0
        self._lock = threading.Lock()
        self._background = None if policy == "off" else Background("audit", self.flush, pause=PAUSE_SECONDS)

    def wants(self, act: Act) -> bool:
        """Whether such operations are written."""
        return self._policy == "on" or (self._policy == "changes" and act is Act.CHANGE)

    def record(self, context: RequestContext, deed: Deed) -> None:
        """Write what a request did. Raises StorageError for a change that was made and can not be written."""
        entry = self._entry(context, deed)
        if entry is None:
            return
        if deed.act is Act.CHANGE and deed.outcome == DONE:
            self._database.write_together(lambda connection: self._append(connection, [entry]))
            return
        with self._lock:
            self._waiting.append(entry)
            if len(self._waiting) > MOST_WAITING:
                self._waiting.popleft()
                self._lost += 1

    def record_in(self, connection: Connection, context: RequestContext, deed: Deed) -> None:
        """Write what a request did in the transaction that does it, or notes that it is done."""
        entry = self._entry(context, deed)
        if entry is not None:
            self._append(connection, [entry])

    def _entry(self, context: RequestContext, deed: Deed) -> tuple[float, str] | None:
        """Time and content of an entry; None for what is not to be written."""
        caller = context.caller
        if caller is None or not self.wants(deed.act):
            return None  # whoever was not let in writes nothing here
        content: dict[str, Any] = {
            "key": caller.key_id or OPEN,
            "client": context.client,
            "request": context.request_id,
            "door": deed.door,
            "operation": deed.operation,
            "collection": None if deed.collection is None else deed.collection[:255],
            "outcome": deed.outcome,
            "faces": deed.face_ids[:MOST_IDS],
            "face_count": len(deed.face_ids),
            "people": [self.pseudonym(name) for name in deed.people[:MOST_IDS]],
            "people_count": len(deed.people),
        }
        if deed.access_key is not None:
            content["access_key"] = deed.access_key
        return self._clock(), json.dumps(content, separators=(",", ":"))

    def _append(self, connection: Connection, entries: Sequence[tuple[float, str]]) -> None:
        audit.append(connection, self._chain_key, self._chain, entries)

    @contextlib.contextmanager
    def writing(
        self, context: RequestContext, *, act: Act, door: str, operation: str
    ) -> Iterator[RequestContext]:
        """Write at the end of the block what was done in it, which is `context`'s work.

        Collection, people, faces and key are those that the context names by then. Raises StorageError as
        `record` does.
        """
        outcome = DONE
        try:
            with request_context(context):
                yield context
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            self.record(context, deed_of(context, act=act, door=door, operation=operation, outcome=outcome))

    def flush(self) -> None:
        """Write what waits. Raises StorageError; it waits on then."""
        with self._lock:
            entries, lost = list(self._waiting), self._lost
            self._waiting.clear()
            self._lost = 0
        if lost:
            _log.error("%d entries of the audit log were lost: the database did not take them", lost)
        if not entries:
            return
        try:
            self._database.write_together(lambda connection: self._append(connection, entries))
        except StorageError:
            with self._lock:
                self._waiting.extendleft(reversed(entries))
            raise

    def close(self) -> None:
        """Write what waits, and no more."""
        if self._background is not None:
            self._background.close()
        try:
            self.flush()
        except StorageError as error:
            _log.error("the last %d entries of the audit log are lost: %s", len(self._waiting), error)

    def pseudonym(self, name: str) -> str:
        """What is written in place of an id that a caller gave: the same for the same id."""
        return hmac.new(self._name_key, name.encode(), hashlib.sha256).hexdigest()[:24]

    def page(
        self, *, limit: int, token: str | None = None, person: str | None = None
    ) -> Page[dict[str, Any]]:
        """A page of the entries, the newest first. person: of those about this id that a caller gave.

        Raises InvalidPaginationToken.
        """
        cursor = self._tokens.read_text(token, "audit", person)
        after = AuditPlace(*json.loads(cursor)) if cursor else None
        found = self.latest(limit=limit + 1, person=person, after=after)
        if len(found) <= limit:
            return Page(tuple(found), None)
        last = found[limit - 1]
        cursor = json.dumps([last["chain"], last["number"], last["at"]])
        return Page(tuple(found[:limit]), self._tokens.make(cursor, "audit", person))

    def latest(
        self,
        *,
        since: float = 0.0,
        limit: int = 1000,
        person: str | None = None,
        after: AuditPlace | None = None,
    ) -> list[dict[str, Any]]:
        """The newest entries, the newest first.

        person: of those about this id that a caller gave. after: of those that come after this place.
        """
        self.flush()
        pseudonym = None if person is None else self.pseudonym(person)
        with self._database.read() as connection:
            rows = audit.latest(connection, since=since, limit=limit, person=pseudonym, after=after)
        return [
            {"at": row.at, "chain": row.chain, "number": row.number, **json.loads(row.content)}
            for row in rows
        ]

    def verify(self) -> list[ChainState]:
        """Every chain, with what is wrong with it."""
        with self._database.read() as connection:
            return audit.verify(connection, self._chain_key)

    def prune(self, older_than: float) -> int:
        """Remove the entries older than so many seconds; how many they were."""
        before = self._clock() - older_than
        with self._database.read() as connection:
            if not audit.any_before(connection, before):
                return 0
        with self._database.write(sweep=True) as connection:
            return audit.prune(connection, before)


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return hmac.new(secret, purpose, hashlib.sha256).digest()
