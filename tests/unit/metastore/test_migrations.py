from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from facerec.db import Database
from facerec.errors import StorageError
from facerec.metastore import migrations, open_at
from facerec.metastore.tables import metadata


def tables(database: Database) -> set[str]:
    with database.read() as connection:
        return set(sa.inspect(connection).get_table_names()) - {"alembic_version"}


def test_the_migrations_lead_to_the_tables_of_the_code(tmp_path: Path) -> None:
    database = open_at(tmp_path)
    assert tables(database) == set(metadata.tables)
    migrations.check(database)
    database.close()


def test_the_migrations_can_be_undone_and_done_again(tmp_path: Path) -> None:
    database = open_at(tmp_path)
    migrations.downgrade(database, "base")
    assert tables(database) == set()
    migrations.upgrade(database)
    assert tables(database) == set(metadata.tables)
    database.close()


def test_opening_again_keeps_what_is_stored(tmp_path: Path) -> None:
    with open_at(tmp_path / "new" / "folder").write() as connection:
        connection.execute(metadata.tables["meta"].insert().values(name="mark", value="kept"))
    again = open_at(tmp_path / "new" / "folder")
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


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    database = open_at(tmp_path)
    with database.write() as connection:
        connection.execute(sa.text("update alembic_version set version_num = '9999'"))
    database.close()
    with pytest.raises(StorageError, match="revision 9999, which this version of the service does not know"):
        open_at(tmp_path)


def test_processes_that_start_together_make_one_database(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from facerec.metastore import open_at; "
        "from facerec.metastore.changes import DatabaseFeed; "
        "database = open_at(pathlib.Path(sys.argv[1])); "
        "print(DatabaseFeed(database).store_id()); database.close()"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    answers = [process.communicate() for process in started]
    assert [errors for _, errors in answers] == [""] * 4
    assert len({identity for identity, _ in answers}) == 1
