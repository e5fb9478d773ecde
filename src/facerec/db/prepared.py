"""Statements of every request, past SQLAlchemy: compiled once, run by the driver, its rows as they are.

What SQLAlchemy does between a compiled statement and its rows takes several times as long as SQLite needs to
look one row up.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

Statement = sa.Select[Any] | sa.Insert | sa.Update | sa.Delete
Values = Mapping[str, Any]


class Prepared:
    """A statement that is run again and again. Safe to share between threads and databases.

    Its columns and parameters are of types whose values the driver gives and takes as they are: TypeError for
    others, such as `SealedBytes`, at the latest at the first use.
    """

    def __init__(self, statement: Statement) -> None:
        """Nothing is compiled before the first use."""
        _check(column.type for column in statement.exported_columns)
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}

    def rows(self, connection: sa.Connection, values: Values) -> list[tuple[Any, ...]]:
        """All rows, for these values of the statement's parameters. KeyError where one is missing.

        Raises the driver's errors, of which `Database.read` and `Database.write` make their own.
        """
        compiled = self._in_words_of(connection)
        parameters = compiled.parameters(values)
        with _driver(connection) as driver:
            rows: list[tuple[Any, ...]] = driver.execute(compiled.text, parameters).fetchall()
        return rows

    def change(self, connection: sa.Connection, values: Values) -> int:
        """Run it; how many rows were changed. Raises as `rows` does."""
        compiled = self._in_words_of(connection)
        parameters = compiled.parameters(values)
        with _driver(connection) as driver:
            changed: int = driver.execute(compiled.text, parameters).rowcount
        return changed

    def change_each(self, connection: sa.Connection, values: Sequence[Values]) -> None:
        """Run it for each of several values. Raises as `rows` does."""
        compiled = self._in_words_of(connection)
        parameters = [compiled.parameters(each) for each in values]
        with _driver(connection) as driver:
            # Not executemany: psycopg's is a pipeline, out of which a lost connection is no error of its own.
            for each in parameters:
                driver.execute(compiled.text, each)

    def _in_words_of(self, connection: sa.Connection) -> _Compiled:
        name = connection.dialect.name
        compiled = self._compiled.get(name)
        if compiled is None:
            compiled = self._compiled[name] = _Compiled(self._statement, connection.dialect)
        return compiled


class _Compiled:
    """The statement in the words of one kind of database."""

    def __init__(self, statement: Statement, dialect: sa.Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        _check(bound.type for bound in compiled.binds.values())
        self.text = str(compiled)
        self._places: Sequence[str] | None = compiled.positiontup
        """Names of the parameters in order, where the driver counts them; None where it names them."""
        self._own = {name: bound.value for name, bound in compiled.binds.items() if not bound.required}
        """Values that are part of the statement."""
        self._names = tuple(compiled.binds)

    def parameters(self, values: Mapping[str, Any]) -> Sequence[Any] | Mapping[str, Any]:
        """The values as the driver takes them."""
        if self._places is None:
            return {name: self._own[name] if name in self._own else values[name] for name in self._names}
        return [self._own[name] if name in self._own else values[name] for name in self._places]


@contextlib.contextmanager
def _driver(connection: sa.Connection) -> Iterator[Any]:
    """The driver's own connection."""
    driver: Any = connection.connection.driver_connection
    try:
        yield driver
    except Exception as error:
        if getattr(driver, "closed", False):  # lost: SQLAlchemy, which did not see it, must not use it
            connection.invalidate(error)
        raise


def _check(kinds: Iterable[sa.types.TypeEngine[Any]]) -> None:
    if any(isinstance(kind, sa.TypeDecorator) for kind in kinds):
        raise TypeError("a type makes other values of the driver's: SQLAlchemy has to run this")
