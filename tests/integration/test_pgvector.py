"""The vector store in PostgreSQL beside what the contract suite asks of every store."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray
from psycopg import sql

from facerec.config import read_settings
from facerec.db import Database
from facerec.domain import BoundingBox, Collection, EmbeddingContract, EntityKind, NewFace
from facerec.errors import ConfigurationError
from facerec.metastore import collections, faces, migrations, open_at, open_metastore
from facerec.vectors import pgvector_rows
from facerec.vectors.pgvector import MOST_WAITING, PgvectorStore
from facerec.vectors.quantization import quantize_batch
from postgres_server import PASSWORD

Vectors = NDArray[np.float32]


def unit(vectors: NDArray[np.floating]) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)


def open_over(url: str) -> Database:
    return open_metastore(read_settings(database_url=url))


def create(database: Database, name: str, dimension: int) -> Collection:
    contract = EmbeddingContract(id="c", pack="p", model_version="1.0", dimension=dimension)
    with database.write() as connection:
        return collections.insert(connection, name=name, contract=contract, created_at=0.0)


def add(database: Database, collection: Collection, vectors: Vectors, each: int = 1000) -> Collection:
    """Store a face for each vector, `each` in a transaction."""
    box = BoundingBox(left=0.1, top=0.1, width=0.2, height=0.2)
    for start in range(0, len(vectors), each):
        new = [
            NewFace(
                face_id=str(uuid.uuid4()),
                image_id=str(uuid.uuid4()),
                external_image_id="a name of 20 letters",
                box=box,
                confidence=99.0,
                embedding=embedding,
            )
            for embedding in quantize_batch(vectors[start : start + each])
        ]
        with database.write() as connection:
            faces.insert(connection, collection, new)
    with database.read() as connection:
        return collections.find(connection, collection.name)


def scalar(database: Database, statement: str) -> int:
    with database.read() as connection:
        return int(connection.scalar(sa.text(statement)) or 0)


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    database = open_over(postgres_url)
    yield database
    database.close()


def matches(rng: np.random.Generator, gallery: Vectors, rows: NDArray[np.intp], cosine: float) -> Vectors:
    """Probes at exactly this cosine from their rows."""
    near = gallery[rows]
    anywhere = rng.standard_normal(near.shape)
    away = unit(anywhere - np.einsum("ij,ij->i", anywhere, near)[:, None] * near)
    return unit(cosine * near + np.sqrt(1 - cosine**2) * away)


@pytest.mark.parametrize(("dimension", "least"), [(128, 0.35), (512, 0.3)])
@pytest.mark.slow
def test_true_matches_among_forty_thousand_faces_come_first(
    database: Database, dimension: int, least: float
) -> None:
    """As by an exhaustive search of float32 vectors, in the hard case: strangers in uniform directions."""
    rng = np.random.default_rng(dimension)
    gallery = unit(rng.standard_normal((40_000, dimension)))
    collection = create(database, "a", dimension)
    store = PgvectorStore(database)
    collection = add(database, collection, gallery)
    first = scalar(database, "SELECT min(key) FROM faces")
    found, right = 0, 0
    for cosine in (0.5, 0.6, 0.7, 0.8):
        rows = rng.integers(0, len(gallery), 300)
        probes = matches(rng, gallery, rows, cosine)
        truth = (probes @ gallery.T).argmax(axis=1)
        assert np.mean(truth == rows) > 0.99
        hits = store.search(collection, EntityKind.FACE, probes, limit=1, min_cosine=least)
        found += sum(bool(one) and one[0].key - first == row for one, row in zip(hits, truth, strict=True))
        right += len(rows)
    assert found / right >= 0.999
    # Searches moved what waited: nothing of it is left to look at row by row.
    assert scalar(database, "SELECT count(*) FROM public_vectors.faces_waiting") <= MOST_WAITING


@pytest.mark.parametrize("dimension", [128, 512])
def test_a_face_costs_less_than_a_kilobyte(database: Database, dimension: int) -> None:
    """With its row, the store's narrow row, and all indexes."""
    store = PgvectorStore(database)
    collection = create(database, "a", dimension)
    relations = ("faces", "public_vectors.faces")
    size = "SELECT " + " + ".join(f"pg_total_relation_size('{name}')" for name in relations)
    empty = scalar(database, size)
    count = 20_000
    vectors = unit(np.random.default_rng(1).standard_normal((count, dimension)))
    collection = add(database, collection, vectors, each=500)
    store.search(collection, EntityKind.FACE, vectors[:1], limit=1, min_cosine=0.9)
    assert scalar(database, "SELECT count(*) FROM public_vectors.faces") == count
    assert (scalar(database, size) - empty) / count < 1024


def test_two_connections_see_each_others_writes_at_once(database: Database, postgres_url: str) -> None:
    """Each of two stores finds what the other's database has just committed, and not what it took back."""
    other = open_over(postgres_url)
    houses = [(database, PgvectorStore(database)), (other, PgvectorStore(other))]
    create(database, "a", 512)
    vectors = unit(np.random.default_rng(2).standard_normal((40, 512)))
    for number, vector in enumerate(vectors):
        (writing, _), (_, searching) = houses[number % 2], houses[1 - number % 2]
        with writing.read() as connection:
            collection = collections.find(connection, "a")
        collection = add(writing, collection, vector[None])
        (hits,) = searching.search(collection, EntityKind.FACE, vector[None], limit=1, min_cosine=0.99)
        assert [round(hit.cosine, 3) for hit in hits] == [1.0]
        with writing.write() as connection:
            faces.delete(connection, collection, [hits[0].key])
        assert searching.search(collection, EntityKind.FACE, vector[None], limit=1, min_cosine=0.99) == [[]]
    other.close()


def test_what_was_stored_before_is_searched_too(database: Database, postgres_url: str) -> None:
    """Switching a database to the store, with several processes that start at once."""
    vectors = unit(np.random.default_rng(3).standard_normal((12_000, 512)))
    collection = add(database, create(database, "a", 512), vectors)
    others = [open_over(postgres_url) for _ in range(3)]
    with ThreadPoolExecutor(3) as processes:
        stores = list(processes.map(PgvectorStore, others))
    # Each moved a part, or found nothing left to move.
    assert scalar(database, "SELECT count(*) FROM public_vectors.faces") == len(vectors)
    for store in stores:
        (hits,) = store.search(collection, EntityKind.FACE, vectors[-1:], limit=1, min_cosine=0.9)
        assert [round(hit.cosine, 3) for hit in hits] == [1.0]
        assert store.status(collection, EntityKind.FACE) == (len(vectors), collection.change_number)
        assert store.verify(collection, EntityKind.FACE) == []
    for other in others:
        other.close()


def test_changes_while_vectors_are_moved_lose_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writers, and several who move what waits in small steps, at once: in the end all is there."""
    monkeypatch.setattr(pgvector_rows, "STEP", 7)
    store = PgvectorStore(database)
    collection = create(database, "a", 128)
    vectors = unit(np.random.default_rng(4).standard_normal((600, 128)))

    def write(part: int) -> None:
        for start in range(part * 200, part * 200 + 200, 10):
            add(database, collection, vectors[start : start + 10])
            with database.write() as connection:
                held = faces.list_after(connection, collection, 0, 1)
                faces.delete(connection, collection, [face.key for _, face in held])

    def move(_part: int) -> None:
        for _ in range(40):
            pgvector_rows.move_waiting(database, store._tables, EntityKind.FACE)

    with ThreadPoolExecutor(6) as threads:
        done = [threads.submit(write, part) for part in range(3)] + [
            threads.submit(move, n) for n in range(3)
        ]
        for one in done:
            one.result()
    pgvector_rows.move_waiting(database, store._tables, EntityKind.FACE)
    with database.read() as connection:
        collection = collections.find(connection, "a")
    assert store.verify(collection, EntityKind.FACE) == []
    held = scalar(database, "SELECT count(*) FROM faces")
    assert held < len(vectors)
    assert store.status(collection, EntityKind.FACE) == (held, collection.change_number)
    assert scalar(database, "SELECT count(*) FROM public_vectors.faces") == held
    assert scalar(database, "SELECT count(*) FROM public_vectors.faces_waiting") == 0


def test_differences_are_found(database: Database) -> None:
    vectors = unit(np.random.default_rng(5).standard_normal((4, 512)))
    collection = add(database, create(database, "a", 512), vectors)
    store = PgvectorStore(database)
    with database.write() as connection:
        keys = connection.scalars(sa.text("SELECT key FROM faces ORDER BY key")).all()
        places = connection.scalars(sa.text("SELECT place FROM public_vectors.faces ORDER BY place")).all()
        table = "public_vectors.faces"
        connection.execute(sa.text(f"UPDATE {table} SET bits = ~bits WHERE place = {places[0]}"))
        connection.execute(sa.text(f"DELETE FROM {table} WHERE place = {places[1]}"))
        connection.execute(sa.text(f"INSERT INTO {table} VALUES ({places[3]} + 5, NULL, NULL)"))
        again = f"SELECT place FROM {table} WHERE place = {places[2]}"
        connection.execute(sa.text(f"INSERT INTO public_vectors.faces_waiting {again}"))
    assert store.verify(collection, EntityKind.FACE) == [
        f"face row {keys[0]}: another vector than in the database",
        f"face row {keys[1]}: missing from the index",
        f"face row {keys[2]}: more than once in the index",
        f"face row {keys[3] + 5}: in the index but not in the database",
    ]
    # What is not of this version, or not whole, is made anew.
    with database.write() as connection:
        connection.execute(sa.text("COMMENT ON SCHEMA public_vectors IS 'facerec, tables 0'"))
    assert PgvectorStore(database).verify(collection, EntityKind.FACE) == []
    with database.write() as connection:
        connection.execute(sa.text("DROP TRIGGER facerec_vectors ON faces"))
        connection.execute(sa.text(f"DELETE FROM {table}"))
    assert PgvectorStore(database).verify(collection, EntityKind.FACE) == []


def test_dimensions_live_beside_each_other(database: Database) -> None:
    store = PgvectorStore(database)
    rng = np.random.default_rng(6)
    for dimension in (100, 128, 192, 193, 512):
        vectors = unit(rng.standard_normal((1500, dimension)))
        collection = add(database, create(database, f"of {dimension}", dimension), vectors)
        found = store.search(collection, EntityKind.FACE, vectors[:3], limit=2, min_cosine=0.8)
        assert [[round(hit.cosine, 3) for hit in hits] for hits in found] == [[1.0]] * 3
        assert store.verify(collection, EntityKind.FACE) == []


def test_thousands_of_copies_of_one_face_are_told_apart_by_key(database: Database) -> None:
    """More than are asked for at first, all equally near."""
    one = unit(np.random.default_rng(7).standard_normal((1, 512)))
    collection = add(database, create(database, "a", 512), np.repeat(one, 6000, axis=0))
    store = PgvectorStore(database)
    first = scalar(database, "SELECT min(key) FROM faces")
    (hits,) = store.search(collection, EntityKind.FACE, one, limit=3, min_cosine=0.5)
    assert [hit.key for hit in hits] == [first, first + 1, first + 2]


def test_undoing_the_migration_takes_it_away_and_the_store_makes_it_again(database: Database) -> None:
    vectors = unit(np.random.default_rng(8).standard_normal((10, 128)))
    collection = add(database, create(database, "a", 128), vectors)
    PgvectorStore(database)
    present = "SELECT count(*) FROM pg_namespace WHERE nspname = 'public_vectors'"
    assert scalar(database, present) == 1
    migrations.downgrade(database, "0006")
    assert scalar(database, present) == 0
    assert scalar(database, "SELECT count(*) FROM pg_trigger WHERE tgname = 'facerec_vectors'") == 0
    migrations.upgrade(database)
    migrations.check(database)
    collection = add(database, collection, vectors[:1])
    store = PgvectorStore(database)
    assert store.status(collection, EntityKind.FACE) == (11, collection.change_number)
    migrations.check(database)


def test_a_sqlite_database_is_refused(tmp_path: Path) -> None:
    database = open_at(tmp_path)
    with pytest.raises(ConfigurationError, match=r"DATABASE_URL names none: set it to postgresql://"):
        PgvectorStore(database)
    database.close()


def test_a_server_without_the_extension_is_named(postgres_url: str, database: Database) -> None:
    nowhere = {"options": "-c extension_control_path=/nowhere"}
    without = Database(sa.make_url(postgres_url).update_query_dict(nowhere))
    with pytest.raises(ConfigurationError, match="the extension pgvector, which the PostgreSQL server"):
        PgvectorStore(without)
    without.close()


@pytest.mark.parametrize(("extension", "missing"), [(False, "CREATE EXTENSION"), (True, "GRANT CREATE")])
def test_a_role_that_may_not_is_told_what_to_have_run(
    postgres_url: str, database: Database, extension: bool, missing: str
) -> None:
    role = f"plain_{'with' if extension else 'without'}"
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        name = sql.Identifier(role)
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(PASSWORD)))
        owner.execute(sql.SQL("GRANT ALL ON ALL TABLES IN SCHEMA public TO {}").format(name))
        if extension:
            owner.execute("CREATE EXTENSION vector")
    url = sa.make_url(postgres_url).set(username=role).render_as_string(hide_password=False)
    plain = Database(url)
    try:
        with pytest.raises(ConfigurationError, match=missing):
            PgvectorStore(plain)
    finally:
        plain.close()
        with psycopg.connect(postgres_url, autocommit=True) as owner:
            owner.execute(sql.SQL("DROP OWNED BY {}").format(name))
            owner.execute(sql.SQL("DROP ROLE {}").format(name))


def test_the_extension_may_lie_in_a_schema_that_is_not_on_the_path(
    postgres_url: str, database: Database
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute('CREATE SCHEMA "Extensions"')
        owner.execute('CREATE EXTENSION vector SCHEMA "Extensions"')
    store = PgvectorStore(database)
    for dimension in (128, 512):
        vectors = unit(np.random.default_rng(9).standard_normal((1200, dimension)))
        collection = add(database, create(database, f"of {dimension}", dimension), vectors)
        (hits,) = store.search(collection, EntityKind.FACE, vectors[:1], limit=1, min_cosine=0.9)
        assert [round(hit.cosine, 3) for hit in hits] == [1.0]


def test_a_schema_of_somebody_else_is_left_alone(postgres_url: str, database: Database) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute("CREATE SCHEMA public_vectors")
    with pytest.raises(ConfigurationError, match="rename it"):
        PgvectorStore(database)
