"""Clean-up: what is stale or belongs to nothing any more, counted or removed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from facerec.db import Database
from facerec.metastore import collections, expiry, leases, tokens
from facerec.metastore.changes import DatabaseFeed
from facerec.services.retention.lifetimes import Lifetimes
from facerec.services.retention.sweeping import Sweeper

JOURNAL = re.compile(r"(\d+)-\d+\.jsonl")
"""Names of the journals of `facerec index`, which begin with the key of their collection."""

DOWNLOAD_SECONDS = 24 * 3600.0
"""Age at which a download that was broken off is taken for given up."""


@dataclass(frozen=True, slots=True)
class Item:
    """One kind of thing that can be cleaned up, and how many there are."""

    what: str
    count: int


@dataclass(frozen=True, slots=True)
class LeftOver:
    """What there is to clean up, and the files of it."""

    items: tuple[Item, ...]
    files: tuple[Path, ...]


def clean(found: LeftOver, sweeper: Sweeper) -> list[Item]:
    """Remove what was found; all that was removed. Raises StorageError, OSError."""
    swept = sweeper.sweep_all()
    sweeper.let_go()
    for path in found.files:
        path.unlink(missing_ok=True)
    return [*found.items, Item("removals that need not be remembered", swept.tombstones)]


class Cleaner:
    """Finds what is left over. It is looked at before an index is opened, which cleans its folder itself."""

    def __init__(
        self,
        database: Database,
        feed: DatabaseFeed,
        lifetimes: Lifetimes,
        *,
        journals: Path,
        packs: Path,
        stale_snapshots: Callable[[], Iterable[Path]],
        age: Callable[[Path], float] = lambda path: time.time() - path.stat().st_mtime,
    ) -> None:
        """journals, packs: folders. stale_snapshots: index files that hold what is gone, or are nobody's.

        age: seconds since a file was last written.
        """
        self._database = database
        self._feed = feed
        self._lifetimes = lifetimes
        self._journals = journals
        self._packs = packs
        self._stale_snapshots = stale_snapshots
        self._age = age

    def look(self) -> LeftOver:
        """What there is to clean up. Nothing is changed."""
        now = self._lifetimes.clock()
        with self._database.read() as connection:
            past = 0
            for key in expiry.collections_with_past(connection, now, self._lifetimes.default_ttl):
                target = collections.find_by_key(connection, key)
                if not target.hidden:
                    past += expiry.count_past(connection, target, self._lifetimes.present(target))
            deleted = collections.awaiting_removal(connection)
            items = [
                Item("faces past their time", past),
                Item("deleted collections with rows left", len(deleted)),
                Item("remembered answers that have expired", tokens.count_expired(connection, now)),
                Item("leases that have run out", leases.count_run_out(connection)),
            ]
        files = {
            "index files of what is gone": list(self._stale_snapshots()),
            "journals of collections that are gone": self._stale_journals(),
            "downloads given up": self._stale_downloads(),
        }
        items += [Item(what, len(paths)) for what, paths in files.items()]
        return LeftOver(tuple(items), tuple(path for paths in files.values() for path in paths))

    def _stale_journals(self) -> list[Path]:
        present = self._feed.collections()
        found = self._journals.glob("*.jsonl") if self._journals.is_dir() else ()
        return [
            path
            for path in sorted(found)
            if (name := JOURNAL.fullmatch(path.name)) and int(name[1]) not in present
        ]

    def _stale_downloads(self) -> list[Path]:
        found = self._packs.rglob("*.part*") if self._packs.is_dir() else ()
        return [path for path in sorted(found) if path.is_file() and self._age(path) > DOWNLOAD_SECONDS]
