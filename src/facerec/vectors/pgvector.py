"""The vector store in PostgreSQL: the database that holds everything else is searched too, by pgvector.

A search scans the narrow rows of `pgvector_tables` from the first to the last, with as many processes as the
server gives it: by their sketches, as the embedded index does (fewer than 1 vector in 10 000 that belongs to
the answer is missed), or by the vectors themselves where they are short enough (none is). No graph and no
lists: those lose more matches than a search may (docs/decisions/0014). What comes near is looked at in the
truth itself, in the same snapshot: the answer is as of one moment, and of the stored codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from facerec.db import Connection, Database
from facerec.domain import Collection, CollectionKey, EntityKind, RowKey, VectorHit
from facerec.errors import StorageError
from facerec.vectors.best import DECIMALS
from facerec.vectors.pgvector_rows import Codes, bit_text, codes_of, differences, move_waiting
from facerec.vectors.pgvector_tables import WHOLE_DIMENSION, Tables, held_between, install, places_of
from facerec.vectors.segment import row_width
from facerec.vectors.sketch import sketch_probe

MOST_WAITING = 1000
"""Vectors that wait above which a search moves them into the table first: to look at the codes of so many
takes about 4 ms, to move them 15."""

_FIRST_NEAR, _FIRST_HALVES = 4096, 64
"""Rows asked for at first, beside some times the limit: those that come near by sketch, and by vector."""

_MORE = 8
"""Times as many rows are asked for where those were not all that come near."""

_FIRST_LOOK, _LOOKED_AT = 32, 2048
"""Rows whose codes are read at first, beside the limit, then twice as many, and so on up to 1 MB (of 512
dimensions) at a time: the nearest come first, and their cosines bound what else is read."""

_HALF_ERROR = 6e-4
"""Most that a cosine with a probe of 16 bit numbers is off. A component is rounded by 2^-11 of itself at
most, so the probe by 2^-11 = 4.9e-4 of its length; the rest is for the server's sums, of 32 bits."""

_SETTINGS = sa.text(
    # No compiling of what runs for milliseconds; and plans for these very numbers of rows, not for any.
    "SELECT set_config('jit', 'off', true), set_config('plan_cache_mode', 'force_custom_plan', true)"
)


class PgvectorStore:
    """Implements `facerec.vectors.base.VectorStore` in the PostgreSQL database of the service."""

    def __init__(self, database: Database) -> None:
        """Open the store: make its tables where they are missing, and move into them all that waits.

        Takes about 20 s a million vectors over a database that had another store. The database stays the
        caller's. Raises ConfigurationError (see `pgvector_tables.install`), StorageError.
        """
        self._database = database
        self._tables = install(database)
        self._closed = False
        for kind in EntityKind:
            move_waiting(database, self._tables, kind)

    def search(
        self,
        collection: Collection,
        kind: EntityKind,
        probes: NDArray[np.float32],
        *,
        limit: int,
        min_cosine: float,
    ) -> list[list[VectorHit]]:
        """See `VectorStore.search`. ValueError: probes not (Q, dimension), or limit < 1."""
        if probes.ndim != 2 or probes.shape[1] != collection.dimension or limit < 1:
            raise ValueError(
                f"a search takes probes (Q, {collection.dimension}) and a limit of 1 or more; "
                f"got {probes.shape} and {limit}"
            )
        self._must_be_open()
        search = _Search(self._tables, collection, kind)
        with self._database.read() as connection:
            waiting = search.waiting(connection, MOST_WAITING + 1)
            if len(waiting) <= MOST_WAITING:
                return [search.answer(connection, waiting, probe, limit, min_cosine) for probe in probes]
        move_waiting(self._database, self._tables, kind, places_of(collection.key))
        with self._database.read() as connection:
            # All of it: what another process is moving right now waits until that is committed.
            waiting = search.waiting(connection, None)
            return [search.answer(connection, waiting, probe, limit, min_cosine) for probe in probes]

    def drop(self, collection: CollectionKey) -> None:
        """See `VectorStore.drop`: nothing to do, a collection's vectors go with its rows."""

    def purge(self) -> None:
        """See `VectorStore.purge`: nothing to do, what is removed goes in the same transaction."""

    def status(self, collection: Collection, kind: EntityKind) -> tuple[int, int]:
        """See `VectorStore.status`: always as of the collection's last change."""
        self._must_be_open()
        first, last = places_of(collection.key)
        rows, waiting = self._tables.rows(kind), self._tables.waiting(kind)
        held = (
            f"(SELECT count(*) FROM {rows} WHERE {held_between(':first', ':last')})"
            f" + (SELECT count(*) FROM {waiting} WHERE place BETWEEN :first AND :last)"
        )
        with self._database.read() as connection:
            count, number = connection.execute(
                sa.text(f"SELECT {held}, (SELECT change_number FROM collections WHERE key = :key)"),
                {"first": first, "last": last, "key": collection.key},
            ).one()
        return int(count), int(number or 0)

    def verify(self, collection: Collection, kind: EntityKind) -> list[str]:
        """See `VectorStore.verify`. Makes every row's sketch anew: about a minute a million vectors."""
        self._must_be_open()
        with self._database.read() as connection:
            return differences(connection, self._tables, collection, kind)

    def close(self) -> None:
        """See `VectorStore.close`: everything is in the database already. Later calls raise StorageError."""
        self._closed = True

    def _must_be_open(self) -> None:
        if self._closed:
            raise StorageError("The vector store has been closed.")


class _Search:
    """Searches in one collection's vectors of a kind."""

    def __init__(self, tables: Tables, collection: Collection, kind: EntityKind) -> None:
        self._tables = tables
        self._collection = collection
        self._kind = kind
        first, last = places_of(collection.key)
        self._places = {"first": first, "last": last}

    def waiting(self, connection: Connection, most: int | None) -> list[RowKey]:
        """Keys of up to `most` vectors (None: of all) that wait. Sets the transaction up to search, too."""
        connection.execute(_SETTINGS)
        found = connection.scalars(
            sa.text(
                f"SELECT place - :first FROM {self._tables.waiting(self._kind)} "
                "WHERE place BETWEEN :first AND :last LIMIT :most"
            ),
            {**self._places, "most": most},
        )
        return [RowKey(key) for key in found]

    def answer(
        self,
        connection: Connection,
        waiting: Sequence[RowKey],
        probe: NDArray[np.float32],
        limit: int,
        min_cosine: float,
    ) -> list[VectorHit]:
        """The hits of a probe (d,) of unit length, as of the transaction's snapshot."""
        best = _Best(probe, limit, min_cosine)
        for start in range(0, len(waiting), _LOOKED_AT):
            self._look_at(connection, waiting[start : start + _LOOKED_AT], best)
        if self._collection.dimension > WHOLE_DIMENSION:
            self._sift(connection, _Sketches(probe, self._tables.extension), best)
        else:
            self._sift(connection, _Halves(probe, self._tables.extension), best)
        return best.hits()

    def _sift(self, connection: Connection, sieve: _Sieve, best: _Best) -> None:
        """Look at every row of the table that may belong to the answer, the nearest first."""
        statement = sa.text(
            f"SELECT place - :first, {sieve.distance} AS distance FROM {self._tables.rows(self._kind)} "
            f"WHERE {held_between(':first', ':last')} AND {sieve.near} ORDER BY distance LIMIT :count"
        )
        count = sieve.first_count(best.limit)
        while True:
            asked = {**self._places, **sieve.parameters(best.least), "count": count}
            rows = connection.execute(statement, asked).all()
            start, step = 0, best.limit + _FIRST_LOOK
            while start < len(rows):
                part = rows[start : start + min(step, _LOOKED_AT)]
                cut = sieve.cut(best.least)
                near = [RowKey(key) for key, distance in part if distance <= cut]
                self._look_at(connection, near, best)
                if len(near) < len(part):
                    return
                start, step = start + len(part), 2 * step
            if len(rows) < count:
                return
            count *= _MORE

    def _look_at(self, connection: Connection, keys: Sequence[RowKey], best: _Best) -> None:
        """Take in the exact cosines of rows that were not looked at before."""
        dimension = self._collection.dimension
        unseen = [key for key in keys if key not in best.seen]
        for found in codes_of(connection, self._kind, unseen) if unseen else ():
            damaged = found.keys[~found.codes.any(axis=1) | (found.codes.shape[1] != dimension)]
            if len(damaged):
                raise StorageError(
                    f"The embedding of {self._kind} row {damaged[0]} of collection {self._collection.key} is "
                    f"damaged: {found.codes.shape[1]} bytes where {dimension}, not all of them zero, belong."
                )
            best.take(found)


class _Best:
    """The best rows so far by their exact cosines, and from them how near another row has to come."""

    def __init__(self, probe: NDArray[np.float32], limit: int, min_cosine: float) -> None:
        self._probe = probe.astype(np.float64)
        self.limit = limit
        self._min_cosine = min_cosine
        self._hits: list[VectorHit] = []
        self.seen: set[int] = set()
        """Keys of all rows that were taken in."""
        self.least = min_cosine
        """No row of a lower cosine belongs to the answer."""

    def take(self, vectors: Codes) -> None:
        """Take in rows."""
        rows, keys = vectors.codes.astype(np.float64), vectors.keys.tolist()
        cosines = rows @ self._probe / np.sqrt(np.einsum("ij,ij->i", rows, rows))
        rounded = np.clip(np.round(cosines, DECIMALS), -1.0, 1.0)
        self.seen.update(keys)
        self._hits += [
            VectorHit(RowKey(keys[place]), float(rounded[place]))
            for place in np.flatnonzero(rounded >= self.least).tolist()
        ]
        self._hits.sort(key=lambda hit: (-hit.cosine, hit.key))
        del self._hits[self.limit :]
        if len(self._hits) == self.limit:
            # Equal cosines go by key: what ties with the last one may still belong to the answer.
            self.least = max(self._min_cosine, self._hits[-1].cosine - 10.0**-DECIMALS)

    def hits(self) -> list[VectorHit]:
        """The answer: the best first, at most `limit`, none below the least cosine, equal ones by key."""
        return list(self._hits)


class _Sieve(Protocol):
    """What tells by a narrow row whether its vector may be near enough."""

    distance: str
    """SQL: a number that grows as the cosine falls, but for an error."""
    near: str
    """SQL: whether the row may be near enough."""

    def parameters(self, least: float) -> dict[str, Any]:
        """Values of the SQL, for vectors of this cosine or a greater one."""

    def cut(self, least: float) -> float:
        """The greatest distance of such a vector."""

    def first_count(self, limit: int) -> int:
        """Rows to ask for at first."""


class _Sketches:
    """By the sketches: first the bits that differ from the probe's signs, then those from all its planes."""

    def __init__(self, probe: NDArray[np.float32], extension: str) -> None:
        padded = np.zeros(row_width(len(probe)), dtype=np.float32)
        padded[: len(probe)] = probe
        self._sketch, self._signs = sketch_probe(padded), sketch_probe(padded, 1)
        self._planes = {"signs": bit_text(self._signs.planes[0].view(np.uint8))}
        terms = []
        for number, plane in enumerate(self._sketch.planes):
            self._planes[f"plane{number}"] = bit_text(plane.view(np.uint8))
            terms.append(f"{2**number} * {_differing(extension, f'plane{number}')}")
        self.distance = " + ".join(terms)
        self.near = f"{_differing(extension, 'signs')} <= :most_signs AND {self.distance} <= :most"

    def parameters(self, least: float) -> dict[str, Any]:
        return {**self._planes, "most_signs": self._signs.cut(least), "most": self._sketch.cut(least)}

    def cut(self, least: float) -> float:
        return self._sketch.cut(least)

    def first_count(self, limit: int) -> int:
        return _FIRST_NEAR + 4 * limit


def _differing(extension: str, plane: str) -> str:
    """SQL: the number of bits in which a row's sketch and a parameter differ."""
    return f"{extension}.hamming_distance(bits, CAST(:{plane} AS bit varying))"


class _Halves:
    """By the vectors themselves: none is missed."""

    def __init__(self, probe: NDArray[np.float32], extension: str) -> None:
        self._probe = f"[{','.join(map(str, probe.tolist()))}]"
        self.distance = f"{extension}.cosine_distance(halves, CAST(:probe AS {extension}.halfvec))"
        self.near = f"{self.distance} <= :most"

    def parameters(self, least: float) -> dict[str, Any]:
        return {"probe": self._probe, "most": self.cut(least)}

    def cut(self, least: float) -> float:
        return 1 - least + _HALF_ERROR

    def first_count(self, limit: int) -> int:
        return _FIRST_HALVES + 2 * limit
