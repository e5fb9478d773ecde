"""What the store in PostgreSQL keeps beside the truth, and the triggers that keep it equal to the truth.

A schema of its own, named after the one that the tables of the service are in (`public_vectors`):

    faces, users    a narrow row for each vector, which searches scan: its place, and one of
        bits        its sketch (vectors/sketch.py), where the dimension is greater than WHOLE_DIMENSION
        halves      its codes as numbers of 16 bits, each exact, where it is not
    faces_waiting, users_waiting    places of vectors that are not in the table yet, or changed since

Triggers on the tables of the service write a place into `..._waiting` in the transaction that puts or changes
a vector, and take a removed one out of both tables in the transaction that removes it. So nobody who writes
has to know of this store, and none can forget it. Searches look at all that waits; whoever finds much waiting
moves it into the table (`pgvector_rows`).

A vector waits instead of being sketched by the trigger because SQL takes 200 to 500 microseconds for what
`sketch.bits_of` does in one.

All of it is derived from the truth, and is made when the store is first opened over a database: only the
store needs the extension, and the right to create a schema. `DROP SCHEMA public_vectors CASCADE` takes all of
it away again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from facerec.db import Connection, Database
from facerec.domain import CollectionKey, EntityKind
from facerec.errors import ConfigurationError
from facerec.vectors.sketch import VERSION as SKETCH_VERSION

WHOLE_DIMENSION = 192
"""Greatest dimension of which rows hold every component, and searches miss nothing: a face of more would cost
1 KB and more with all that the service keeps of it."""

_VERSION = 1
"""Of the tables, functions and triggers: those of another version are made anew."""

_LEAST_EXTENSION = (0, 7)
"""pgvector with numbers of 16 bits and Hamming distances."""

_KEY_BITS = 36
"""A place is the collection's key and, in so many bits, the row's: one column, and one index, for both.
Room for 69 billion faces and 134 million collections."""

KEY_MASK = (1 << _KEY_BITS) - 1
"""The bits of a place that are the row's key."""

_FORBIDDEN = "42501"
"""SQLSTATE insufficient_privilege."""

_SOURCES = {EntityKind.FACE: "faces", EntityKind.USER: "users"}
"""Tables of the service that hold the vectors."""

_TRIGGER = "facerec_vectors"

_GROUP_BITS = 6

_GROUP = f"(place >> {_GROUP_BITS})"
"""SQL: what the rows are found by, a row together with its place: 64 neighbours have it in common."""


@dataclass(frozen=True, slots=True)
class Tables:
    """Names for SQL, quoted."""

    schema: str
    extension: str
    """The schema of the extension's types and functions, which need not be on the search path."""

    def rows(self, kind: EntityKind) -> str:
        """The table that is scanned."""
        return f"{self.schema}.{source(kind)}"

    def waiting(self, kind: EntityKind) -> str:
        """The table of places that wait."""
        return f"{self.schema}.{source(kind)}_waiting"


def source(kind: EntityKind) -> str:
    """The table of the service with the vectors of this kind: columns key, collection_key and codes."""
    return _SOURCES[kind]


def places_of(collection: CollectionKey) -> tuple[int, int]:
    """The first and the last place of a collection's rows; that of a row is the first one and its key."""
    first = int(collection) << _KEY_BITS
    return first, first | KEY_MASK


def held_between(first: str, last: str) -> str:
    """SQL: whether a row of the table that is scanned is of a collection, by parameters of `places_of`."""
    return f"{_GROUP} BETWEEN ({first} >> {_GROUP_BITS}) AND ({last} >> {_GROUP_BITS})"


def install(database: Database) -> Tables:
    """Make what is missing, all vectors waiting; a no-op where it is there. Several processes may.

    While it is made, writers wait: about four seconds for a million faces.
    Raises ConfigurationError where the database is not PostgreSQL, has no fitting pgvector, or does not let
    us make the extension or the schema; StorageError.
    """
    if database.name != "postgresql":
        raise ConfigurationError(
            "VECTOR_STORE=pgvector keeps vectors in the PostgreSQL database that holds everything else, and "
            "DATABASE_URL names none: set it to postgresql://USER:PASSWORD@HOST:PORT/NAME, or "
            "VECTOR_STORE=embedded"
        )
    with database.write(sweep=True) as connection:
        home = connection.scalar(sa.text("SELECT current_schema()"))
        quote = connection.dialect.identifier_preparer.quote_identifier
        name = f"{home}_vectors"
        connection.execute(
            sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name}
        )
        extension = _extension(connection)
        tables = Tables(schema=quote(name), extension=quote(extension))
        mark = f"facerec, tables {_VERSION}, sketches {SKETCH_VERSION}"
        if not _present(connection, name, mark):
            with _permitted(connection, "a schema", "GRANT CREATE ON DATABASE ... TO ..."):
                connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {tables.schema} CASCADE")
                connection.exec_driver_sql(f"CREATE SCHEMA {tables.schema}")
            for kind in EntityKind:
                for statement in _statements(tables, kind):
                    connection.exec_driver_sql(statement)
            connection.exec_driver_sql(f"COMMENT ON SCHEMA {tables.schema} IS '{mark}'")
    return tables


def _present(connection: Connection, name: str, mark: str) -> bool:
    """Whether all is there, of this version. Raises ConfigurationError for somebody else's schema."""
    found = connection.execute(
        sa.text("SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = :name"),
        {"name": name},
    ).one_or_none()
    if found is None:
        return False
    if not str(found[0]).startswith("facerec, "):
        raise ConfigurationError(
            f"The database has a schema {name} that is not of this service, and VECTOR_STORE=pgvector "
            "needs one of this name: rename it"
        )
    triggers = connection.scalar(
        sa.text(
            "SELECT count(*) FROM pg_trigger WHERE tgname = :name AND tgenabled = 'O' "
            "AND tgrelid IN (to_regclass('faces'), to_regclass('users'))"
        ),
        {"name": _TRIGGER},
    )
    return bool(found[0] == mark and triggers == len(EntityKind))


def _extension(connection: Connection) -> str:
    """The schema of the extension, made where it is missing."""
    found = _found_extension(connection)
    if found is None:
        offered = sa.text("SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'")
        if not connection.scalar(offered):
            raise ConfigurationError(
                "VECTOR_STORE=pgvector needs the extension pgvector, which the PostgreSQL server does not "
                "have: install it there (Debian: postgresql-VERSION-pgvector), or set VECTOR_STORE=embedded"
            )
        with _permitted(connection, "the extension", "CREATE EXTENSION vector"):
            connection.exec_driver_sql("CREATE EXTENSION vector")
        found = _found_extension(connection)
    assert found is not None  # noqa: S101  (it was made)
    version, schema = found
    if tuple(int(part) for part in version.split(".")[:2]) < _LEAST_EXTENSION:
        raise ConfigurationError(
            f"VECTOR_STORE=pgvector needs pgvector {'.'.join(map(str, _LEAST_EXTENSION))} or newer, and the "
            f"database has {version}: install a newer one on the server, and run "
            "ALTER EXTENSION vector UPDATE"
        )
    return schema


def _found_extension(connection: Connection) -> tuple[str, str] | None:
    """Version and schema of the extension in this database."""
    found = connection.execute(
        sa.text(
            "SELECT extversion, nspname FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace "
            "WHERE extname = 'vector'"
        )
    ).one_or_none()
    return None if found is None else (found[0], found[1])


@contextmanager
def _permitted(connection: Connection, what: str, remedy: str) -> Iterator[None]:
    """Turn a refusal for want of rights into ConfigurationError."""
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _FORBIDDEN:
            raise
        raise ConfigurationError(
            f"VECTOR_STORE=pgvector makes {what} in the database when it is first opened, and the role of "
            f"DATABASE_URL may not: have its owner or a superuser run {remedy}, or set VECTOR_STORE=embedded"
        ) from error


def _statements(tables: Tables, kind: EntityKind) -> Iterator[str]:
    """Make the tables, the trigger and its function of one kind; every vector waits."""
    rows, waiting, table = tables.rows(kind), tables.waiting(kind), source(kind)
    old, new = _place("OLD."), _place("NEW.")
    of_old, of_new = (f"{_GROUP} = ({place} >> {_GROUP_BITS}) AND place = {place}" for place in (old, new))
    yield (
        f"CREATE TABLE {rows} (place bigint NOT NULL, bits bit varying, halves {tables.extension}.halfvec)"
    )
    # Equal values share an entry of an index: 7 bytes a row, where a primary key would take 22.
    yield f"CREATE INDEX ON {rows} ({_GROUP})"
    # In the row, and with a header of four bytes: a shorter one would have every value copied to be compared.
    yield f"ALTER TABLE {rows} ALTER bits SET STORAGE PLAIN, ALTER halves SET STORAGE PLAIN"
    yield f"CREATE TABLE {waiting} (place bigint PRIMARY KEY)"
    # What waits is locked before the row of the table is touched, here as where it is moved; and a place
    # that waits already is locked too, so that nobody moves it before this change is committed. So a place
    # is in one of the two tables, and once.
    yield f"""
        CREATE FUNCTION {rows}_changed() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND (NEW.codes IS NULL OR {new} <> {old})) THEN
                DELETE FROM {waiting} WHERE place = {old};
                DELETE FROM {rows} WHERE {of_old};
            END IF;
            IF TG_OP <> 'DELETE' AND NEW.codes IS NOT NULL THEN
                INSERT INTO {waiting} VALUES ({new}) ON CONFLICT (place) DO UPDATE SET place = excluded.place;
                IF TG_OP = 'UPDATE' THEN
                    DELETE FROM {rows} WHERE {of_new};
                END IF;
            END IF;
            RETURN NULL;
        END $$"""
    yield (
        f"CREATE TRIGGER {_TRIGGER} AFTER INSERT OR DELETE OR UPDATE OF key, collection_key, codes "
        f"ON {table} FOR EACH ROW EXECUTE FUNCTION {rows}_changed()"
    )
    yield f"INSERT INTO {waiting} SELECT {_place('')} FROM {table} WHERE codes IS NOT NULL ORDER BY key"


def _place(row: str) -> str:
    """SQL for the place of a row of the service's table."""
    return f"({row}collection_key * {1 << _KEY_BITS} + {row}key)"
