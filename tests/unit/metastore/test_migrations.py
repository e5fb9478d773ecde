from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from stored import open_database

from facerec.db import Database
from facerec.errors import StorageError
from facerec.metastore import meta, migrations, open_at
from facerec.metastore.revision import NEWEST
from facerec.metastore.tables import metadata

PROCESSES = 4


@pytest.fixture
def database(tmp_path: Path, database_url: str | None) -> Iterator[Database]:
    database = open_database(tmp_path, database_url)
    yield database
    database.close()


def tables(database: Database) -> set[str]:
    with database.read() as connection:
        return set(sa.inspect(connection).get_table_names()) - {"alembic_version"}


def test_the_migrations_lead_to_the_tables_of_the_code(database: Database) -> None:
    assert tables(database) == set(metadata.tables)
    migrations.check(database)
    assert migrations.schema_of(database).newest == NEWEST


def test_the_migrations_can_be_undone_and_done_again(database: Database) -> None:
    migrations.downgrade(database, "base")
    assert tables(database) == set()
    migrations.upgrade(database)
    assert tables(database) == set(metadata.tables)
    migrations.check(database)


def test_every_migration_can_be_undone_alone_and_done_again(database: Database) -> None:
    steps = ScriptDirectory(str(Path(migrations.__file__).parent)).walk_revisions()
    for step in steps:
        migrations.downgrade(database, "-1")
        migrations.upgrade(database, step.revision)
        migrations.downgrade(database, "-1")
    assert tables(database) == set()
    migrations.upgrade(database)
    migrations.check(database)


def test_names_are_in_the_order_of_their_bytes(tmp_path: Path, postgres_url: str) -> None:
    """On a server set up for a language too: what an indexed column asks for is asked of the catalogue."""
    database = open_database(tmp_path, postgres_url)
    catalogue = (
        "SELECT c.relname, a.attname, l.collname FROM pg_index i "
        "JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey) "
        "JOIN pg_collation l ON l.oid = a.attcollation "
        "WHERE n.nspname = 'public' AND c.relname <> 'alembic_version'"
    )
    with database.read() as connection:
        indexed = {(table, column): order for table, column, order in connection.execute(sa.text(catalogue))}
    database.close()
    assert indexed["users", "user_id"] == indexed["tags", "name"] == indexed["collections", "name"] == "C"


def test_opening_again_keeps_what_is_stored(tmp_path: Path, database_url: str | None) -> None:
    first = open_database(tmp_path / "new" / "folder", database_url)
    with first.write() as connection:
        connection.execute(metadata.tables["meta"].insert().values(name="mark", value="kept"))
    first.close()
    again = open_database(tmp_path / "new" / "folder", database_url)
    with again.read() as connection:
        value = connection.scalar(sa.text("select value from meta where name = 'mark'"))
    assert value == "kept"
    again.close()


def test_the_database_is_for_its_owner_alone(tmp_path: Path) -> None:
    database = open_at(tmp_path / "data")
    files = sorted((tmp_path / "data").iterdir())
    assert [path.name for path in files] == ["facerec.db", "facerec.db-shm", "facerec.db-wal"]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    database.close()


def become_newer(database: Database, oldest_serving: str) -> None:
    """Have the tables be those of a newer version, which says from which revision on they can be served."""
    with database.write() as connection:
        connection.execute(sa.text("update alembic_version set version_num = '9999'"))
        meta.put(connection, migrations.OLDEST_SERVING, oldest_serving)


def test_tables_of_a_newer_version_that_breaks_this_one_are_refused(
    tmp_path: Path, database: Database, database_url: str | None
) -> None:
    become_newer(database, "9998")
    assert migrations.schema_of(database).state == "too new"
    with pytest.raises(StorageError, match="revision 9999, which this version of the service does not know"):
        open_database(tmp_path, database_url)


def test_tables_of_a_newer_version_are_served_where_it_says_so(
    tmp_path: Path, database: Database, database_url: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    newest = migrations.schema_of(database).newest
    become_newer(database, newest)
    assert migrations.schema_of(database).state == "newer"
    again = open_database(tmp_path, database_url)
    again.close()
    assert "newer than" in caplog.text
    assert migrations.schema_of(database).revision == "9999"  # as it was


def test_a_migration_writes_down_who_can_serve_its_tables(database: Database) -> None:
    schema = migrations.schema_of(database)
    assert schema.state == "current"
    assert schema.oldest_serving is not None
    assert schema.oldest_serving >= migrations.FIRST_PROMISE
    assert schema.oldest_serving in (schema.newest, *schema.applied)


OPENER = """
import sys
from facerec.config import read_settings
from facerec.metastore import open_metastore
from facerec.metastore.changes import DatabaseFeed
settings = read_settings()
print("ready", flush=True)
sys.stdin.readline()
database = open_metastore(settings)
print(DatabaseFeed(database).store_id())
database.close()
"""


def test_processes_that_start_together_make_one_database(tmp_path: Path, database_url: str | None) -> None:
    environment = {**os.environ, "FACEREC_DATA_DIR": str(tmp_path), "DATABASE_URL": database_url or ""}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=tmp_path,
        )
        for _ in range(PROCESSES)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    answers = [process.communicate("go\n") for process in started]
    assert [errors for _, errors in answers] == [""] * PROCESSES
    assert len({identity for identity, _ in answers}) == 1
    made = open_database(tmp_path, database_url)
    migrations.check(made)
    made.close()
