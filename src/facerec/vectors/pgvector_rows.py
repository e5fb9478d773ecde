"""Rows of the tables that searches scan: made of the codes of vectors that wait, and compared with them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import psycopg
import sqlalchemy as sa
from numpy.typing import NDArray

from facerec.db import Connection, Database
from facerec.domain import Collection, EntityKind
from facerec.vectors.pgvector_tables import KEY_MASK, WHOLE_DIMENSION, Tables, places_of, source
from facerec.vectors.segment import row_width
from facerec.vectors.sketch import bits_of

STEP = 5000
"""Vectors moved in a transaction: of 512 dimensions 2.5 MB of codes, in about 50 ms."""

_TOLD_EVERY = 100_000
"""Vectors moved after which the log says so."""

_COUNTED_FROM = 10_000
"""Vectors moved after which the server counts them at once, and not within the minute: until it has, it takes
a large collection for a small one, and searches it by the index instead of from the first row to the last."""

_log = logging.getLogger(__name__)


class Codes(NamedTuple):
    """Vectors of one dimension."""

    keys: NDArray[np.int64]
    """(n,)."""
    codes: NDArray[np.int8]
    """(n, d)."""


def move_waiting(
    database: Database, tables: Tables, kind: EntityKind, places: tuple[int, int] | None = None
) -> None:
    """Move what waits (between two places) into the table. Several processes share the work.

    What others are moving or changing at this moment is left to them. Raises StorageError.
    """
    moved = told = 0
    while step := _move_some(database, tables, kind, places or (0, 2**63 - 1)):
        moved += step
        if moved - told >= _TOLD_EVERY:
            told = moved
            _log.info("Put %d vectors (%s) into the tables of VECTOR_STORE=pgvector.", moved, kind)
    if moved >= _COUNTED_FROM:
        with database.write() as connection:
            connection.exec_driver_sql(f"ANALYZE {tables.rows(kind)}")


def _move_some(database: Database, tables: Tables, kind: EntityKind, between: tuple[int, int]) -> int:
    """Move up to STEP vectors in a transaction; how many."""
    rows, waiting = tables.rows(kind), tables.waiting(kind)
    with database.write() as connection:
        found = connection.scalars(
            sa.text(
                f"SELECT place FROM {waiting} WHERE place BETWEEN :first AND :last "
                "ORDER BY place LIMIT :step FOR UPDATE SKIP LOCKED"
            ),
            {"first": between[0], "last": between[1], "step": STEP},
        ).all()
        if not found:
            return 0
        # Only now that their places are locked: nobody changes these vectors until this is committed.
        places = {place & KEY_MASK: place for place in found}
        vectors = codes_of(connection, kind, list(places))
        connection.execute(
            sa.text(f"DELETE FROM {waiting} WHERE place = ANY(CAST(:places AS bigint[]))"),
            {"places": list(found)},
        )
        _copy(connection, rows, places, vectors)
        return len(found)


def codes_of(connection: Connection, kind: EntityKind, keys: Sequence[int]) -> list[Codes]:
    """Codes of the rows that exist and have some, an entry for each dimension.

    Joined by the server: row by row they take seven times as long.
    """
    statement = sa.text(
        f"SELECT length(codes), array_agg(key), string_agg(codes, '') FROM {source(kind)} "
        "WHERE key = ANY(CAST(:keys AS bigint[])) AND codes <> '' GROUP BY length(codes)"
    )
    found = connection.execute(statement, {"keys": list(keys)})
    return [
        Codes(np.array(own, dtype=np.int64), np.frombuffer(codes, dtype=np.int8).reshape(-1, dimension))
        for dimension, own, codes in found
    ]


def _copy(connection: Connection, table: str, places: Mapping[int, int], vectors: Iterable[Codes]) -> None:
    """Write the rows of vectors, their places by key, in PostgreSQL's binary format of COPY."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101  (narrows the type)
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for keys, codes in vectors:
            copy.write(_records([places[key] for key in keys.tolist()], codes))
        copy.write(b"\xff\xff")


def _records(places: Sequence[int], codes: NDArray[np.int8]) -> bytes:
    """Rows (place, bits, halves) as COPY takes them: fields with their lengths, big-endian; -1 is NULL."""
    dimension = codes.shape[1]
    head = [("fields", ">i2"), ("place_size", ">i4"), ("place", ">i8"), ("bits_size", ">i4")]
    if dimension > WHOLE_DIMENSION:
        sketches = sketch_bytes(codes)
        width = sketches.shape[1]
        tail = [("count", ">i4"), ("bits", "u1", width), ("halves_size", ">i4")]
        records = np.zeros(len(places), dtype=np.dtype([*head, *tail]))
        records["bits_size"], records["count"], records["bits"] = 4 + width, 8 * width, sketches
        records["halves_size"] = -1
    else:
        tail = [("halves_size", ">i4"), ("dimension", ">i2"), ("unused", ">i2"), ("halves", ">f2", dimension)]
        records = np.zeros(len(places), dtype=np.dtype([*head, *tail]))
        records["bits_size"] = -1
        records["halves_size"], records["dimension"] = 4 + 2 * dimension, dimension
        records["halves"] = codes
    records["fields"], records["place_size"], records["place"] = 3, 8, places
    return records.tobytes()


def sketch_bytes(codes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """The sketches (n, bytes) of codes (n, d), as their bits lie in the column."""
    width = row_width(codes.shape[1])
    padded = np.zeros((len(codes), width), dtype=np.int8)
    padded[:, : codes.shape[1]] = codes
    return np.ascontiguousarray(bits_of(padded)).view(np.uint8)


def bit_text(sketch: NDArray[np.uint8]) -> str:
    """The bits of a sketch (bytes,) as PostgreSQL reads and writes them."""
    return (np.unpackbits(sketch) + ord("0")).tobytes().decode("ascii")


def differences(
    connection: Connection, tables: Tables, collection: Collection, kind: EntityKind
) -> list[str]:
    """A line for each row of the collection that is not what the codes make it; of one snapshot.

    What waits is no difference: searches look at its codes.
    """
    rows, waiting = tables.rows(kind), tables.waiting(kind)
    lines: list[str] = []
    first, last = places_of(collection.key)
    found = connection.execution_options(yield_per=1024).execute(
        sa.text(
            f"SELECT v.key, v.codes, r.place, r.bits::text, r.halves::text FROM {source(kind)} v "
            f"LEFT JOIN {rows} r ON r.place = v.key + :first "
            f"LEFT JOIN {waiting} w ON w.place = v.key + :first "
            "WHERE v.collection_key = :collection AND v.codes IS NOT NULL AND w.place IS NULL"
        ),
        {"first": first, "collection": collection.key},
    )
    for part in found.partitions():
        for key, codes, place, bits, halves in part:
            vector = np.frombuffer(bytes(codes), dtype=np.int8)[None]
            if len(codes) != collection.dimension or not vector.any():
                lines.append(f"{kind} row {key}: damaged in the database")
            elif place is None:
                lines.append(f"{kind} row {key}: missing from the index")
            elif (bits, halves) != _texts(vector):
                lines.append(f"{kind} row {key}: another vector than in the database")
    doubled = connection.scalars(
        sa.text(
            "SELECT r.place - :first FROM "
            f"(SELECT place FROM {rows} UNION ALL SELECT place FROM {waiting}) r "
            "WHERE r.place BETWEEN :first AND :last GROUP BY r.place HAVING count(*) > 1"
        ),
        {"first": first, "last": last},
    )
    lines += [f"{kind} row {key}: more than once in the index" for key in doubled]
    for table in (rows, waiting):
        surplus = connection.scalars(
            sa.text(
                f"SELECT r.place - :first FROM {table} r WHERE r.place BETWEEN :first AND :last "
                f"AND NOT EXISTS (SELECT 1 FROM {source(kind)} v WHERE v.key = r.place - :first "
                "AND v.codes IS NOT NULL AND v.collection_key = :collection)"
            ),
            {"first": first, "last": last, "collection": collection.key},
        )
        lines += [f"{kind} row {key}: in the index but not in the database" for key in surplus]
    return sorted(lines)


def _texts(codes: NDArray[np.int8]) -> tuple[str | None, str | None]:
    """The columns bits and halves of codes (1, d), as PostgreSQL writes them."""
    if codes.shape[1] > WHOLE_DIMENSION:
        return bit_text(sketch_bytes(codes)[0]), None
    return None, f"[{','.join(map(str, codes[0].tolist()))}]"
