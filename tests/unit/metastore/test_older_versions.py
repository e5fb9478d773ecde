"""A migration that versions before it cannot live with says so: what it does to the tables is looked at.

What it does to rows is not: a migration that gives old rows another meaning has to say so by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from stored import open_database

from facerec.db import Database
from facerec.metastore import migrations


@dataclass(frozen=True, slots=True)
class Column:
    """What a statement of an older version has to know of a column."""

    kind: str
    may_be_left_out: bool
    """It may be empty, or has a default."""


@dataclass(frozen=True, slots=True)
class Table:
    columns: Mapping[str, Column]
    rules: frozenset[str]
    """Uniqueness, checks and references, which a row of an older version could break."""


def tables_of(database: Database) -> dict[str, Table]:
    with database.read() as connection:
        looked = sa.inspect(connection)
        return {name: _table(looked, name) for name in looked.get_table_names()}


def _table(looked: sa.Inspector, name: str) -> Table:
    found = looked.get_columns(name)
    columns = {
        column["name"]: Column(
            str(column["type"]), bool(column["nullable"]) or column.get("default") is not None
        )
        for column in found
    }
    rules = {f"unique {one['column_names']}" for one in looked.get_unique_constraints(name)}
    rules |= {f"unique {one['column_names']}" for one in looked.get_indexes(name) if one["unique"]}
    rules |= {f"check {one['sqltext']}" for one in looked.get_check_constraints(name)}
    rules |= {f"reference {one['constrained_columns']}" for one in looked.get_foreign_keys(name)}
    rules.add(f"key {looked.get_pk_constraint(name)['constrained_columns']}")
    return Table(columns, frozenset(rules))


def broken(before: Mapping[str, Table], after: Mapping[str, Table]) -> Iterator[str]:
    """What an older version could trip over, in words."""
    for name, old in before.items():
        if name not in after:
            yield f"{name} is gone"
            continue
        new = after[name]
        for column, was in old.columns.items():
            now = new.columns.get(column)
            if now is None:
                yield f"{name}.{column} is gone"
            elif now.kind != was.kind:
                yield f"{name}.{column} is of another type"
            elif was.may_be_left_out and not now.may_be_left_out:
                yield f"{name}.{column} has to be given"
        for column in new.columns.keys() - old.columns.keys():
            if not new.columns[column].may_be_left_out:
                yield f"{name}.{column} is new, and has to be given"
        for rule in sorted(new.rules - old.rules):
            yield f"{name} has a new rule: {rule}"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path, None)
    yield database
    database.close()


def test_a_migration_that_breaks_older_versions_says_so(database: Database) -> None:
    steps = ScriptDirectory(str(Path(migrations.__file__).parent)).walk_revisions()
    promised = [step for step in steps if step.revision > migrations.FIRST_PROMISE]
    migrations.downgrade(database, migrations.FIRST_PROMISE)
    for step in reversed(promised):
        before = tables_of(database)
        migrations.upgrade(database, step.revision)
        if not getattr(step.module, "breaks_older", False):
            told = list(broken(before, tables_of(database)))
            assert not told, (
                f"Migration {step.revision} breaks older versions: {told}. Spread it over two versions "
                "(docs/upgrade.md), or write breaks_older = True into its file and tell the changelog."
            )


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DROP TABLE tags", ["tags is gone"]),
        (
            "ALTER TABLE tags RENAME COLUMN value TO text",
            ["tags.value is gone", "tags.text is new, and has to be given"],
        ),
        ("ALTER TABLE tags ADD COLUMN owner TEXT", []),
        ("ALTER TABLE tags ADD COLUMN owner TEXT NOT NULL DEFAULT ''", []),
        ("CREATE TABLE notes (note TEXT NOT NULL UNIQUE)", []),
        ("CREATE INDEX tags_by_value ON tags (value)", []),
        ("CREATE UNIQUE INDEX tags_by_value ON tags (value)", ["tags has a new rule: unique ['value']"]),
    ],
)
def test_what_breaks_older_versions_is_noticed(database: Database, statement: str, told: list[str]) -> None:
    before = tables_of(database)
    with database.write() as connection:
        connection.execute(sa.text(statement))
    assert list(broken(before, tables_of(database))) == told


def test_a_column_that_has_to_be_given_is_noticed() -> None:
    old = Table({"name": Column("TEXT", True)}, frozenset())
    new = Table({"name": Column("TEXT", False), "place": Column("TEXT", False)}, frozenset())
    kind = Table({"name": Column("BLOB", True)}, frozenset())
    assert list(broken({"t": old}, {"t": new})) == [
        "t.name has to be given",
        "t.place is new, and has to be given",
    ]
    assert list(broken({"t": old}, {"t": kind})) == ["t.name is of another type"]
