"""What commands print: tables and sentences for people, JSON for programs, progress and errors on standard
error.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from facerec.config import parse_duration
from facerec.errors import FacerecError, InvalidParameter

AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")
]


def print_json(value: object) -> None:
    """Print a value as JSON; members that are None are left out."""
    typer.echo(json.dumps(_present(value), ensure_ascii=False, indent=2))


def duration(text: str) -> int:
    """Seconds of a duration that was given on the command line. Raises InvalidParameter."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InvalidParameter(f"{error}") from error


def say(message: str) -> None:
    """Print a sentence for people on standard output."""
    _console().print(escape(message), soft_wrap=True, highlight=False)


def note(message: str) -> None:
    """Print a sentence on standard error: a warning, or what goes on beside the result."""
    Console(stderr=True).print(escape(message), soft_wrap=True, highlight=False)


TRACEBACK = "--traceback"
"""The option of every command that shows where an error came from."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process with exit code 1 on an error, after one line on standard error that says what it is."""
    try:
        yield
    except FacerecError as error:
        _fail(error, error.message)
    except BrokenPipeError:
        # Whoever read our output has gone (`facerec ... | head`): nothing more can be said.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - stays open until the process ends
        sys.exit(1)
    except OSError as error:
        _fail(error, str(error))
    except Exception as error:  # noqa: BLE001 - the last place that can turn a defect into one line
        _fail(error, f"unexpected {type(error).__name__}: {error} (facerec --traceback shows where)")


def _fail(error: Exception, message: str) -> NoReturn:
    if TRACEBACK in sys.argv:
        traceback.print_exception(error)
    note(f"Error: {message}")
    sys.exit(1)


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None
) -> None:
    """Print rows as a table; columns whose values are numbers stand to the right."""
    table = Table(title=title, title_justify="left", header_style="bold", title_style="bold")
    for index, column in enumerate(columns):
        numbers = bool(rows) and all(isinstance(row[index], (int, float)) for row in rows)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(_written(value)) for value in row))
    _console().print(table)


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar over `total` things; the function it gives counts one more. Nothing without a
    terminal.
    """
    with _counting_bar() as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


@contextmanager
def following(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar over things whose number may grow; the function it gives takes (done, in all)."""
    with _counting_bar() as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _counting_bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())


@contextmanager
def downloading(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar over bytes; the function it gives takes (bytes there, bytes in all)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _console() -> Console:
    """Standard output, at the terminal's width; wide enough for whole rows where it is not a terminal."""
    return Console(width=None if sys.stdout.isatty() else 160)


def _written(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if 0 < abs(value) < 0.01 else f"{value:.2f}"
    return "" if value is None else str(value)


def _present(value: Any) -> Any:
    """The value without members that are None."""
    if isinstance(value, dict):
        return {key: _present(member) for key, member in value.items() if member is not None}
    if isinstance(value, (list, tuple)):
        return [_present(member) for member in value]
    return value
