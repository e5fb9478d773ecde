"""Statements of every request, past SQLAlchemy: compiled once, run by the driver, its rows as they are.

What SQLAlchemy does between a compiled statement and its rows takes several times as long as SQLite needs to
look one row up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.dml import ReturningUpdate

Statement = sa.Select[Any] | ReturningUpdate[Any]


class Prepared:
    """A statement with rows that is asked for again and again. Safe to share between threads and databases.

    Its columns are of types whose values the driver gives as they are: TypeError for others, such as
    `SealedBytes`.
    """

    def __init__(self, statement: Statement) -> None:
        """Nothing is compiled before the first use."""
        kinds = [column.type for column in statement.exported_columns]
        if any(isinstance(kind, sa.TypeDecorator) for kind in kinds):
            raise TypeError("a column's type makes other values of the driver's: SQLAlchemy has to run this")
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}

    def rows(self, connection: sa.Connection, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """All rows, for these values of the statement's parameters. KeyError where one is missing.

        Raises the driver's errors, of which `Database.read` and `Database.write` make their own.
        """
        name = connection.dialect.name
        compiled = self._compiled.get(name)
        if compiled is None:
            compiled = self._compiled[name] = _Compiled(self._statement, connection.dialect)
        driver: Any = connection.connection.driver_connection
        parameters = compiled.parameters(values)
        try:
            rows: list[tuple[Any, ...]] = driver.execute(compiled.text, parameters).fetchall()
        except Exception as error:
            if getattr(driver, "closed", False):  # lost: SQLAlchemy, which did not see it, must not use it
                connection.invalidate(error)
            raise
        return rows


class _Compiled:
    """The statement in the words of one kind of database."""

    def __init__(self, statement: Statement, dialect: sa.Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
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
