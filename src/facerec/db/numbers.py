"""A list of numbers as one parameter of a statement.

SQLAlchemy writes a list into a statement as a place for each element, anew at each execution: for some dozens
of them that takes longer than the database does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class _Numbers(FunctionElement[int]):
    """The numbers of a parameter made by `number_list`, as the rows of a selection."""

    inherit_cache = True


@compiles(_Numbers, "sqlite")
def _for_sqlite(element: _Numbers, compiler: SQLCompiler, **options: Any) -> str:
    return f"(SELECT value FROM json_each({compiler.process(element.clauses, **options)}))"  # noqa: S608  (a parameter's place)


@compiles(_Numbers, "postgresql")
def _for_postgresql(element: _Numbers, compiler: SQLCompiler, **options: Any) -> str:
    inner = compiler.process(element.clauses, **options)
    return f"(SELECT CAST(value AS bigint) FROM json_array_elements_text(CAST({inner} AS json)))"  # noqa: S608  (as above)


def is_among(column: sa.ColumnElement[int], parameter: str) -> sa.ColumnElement[bool]:
    """Whether the column is one of the numbers of the parameter of that name, made by `number_list`."""
    return column.op("IN", is_comparison=True)(_Numbers(sa.bindparam(parameter, type_=sa.Text)))


def number_list(numbers: Iterable[int]) -> str:
    """Whole numbers as the parameter of `is_among`."""
    return json.dumps(list(numbers))
