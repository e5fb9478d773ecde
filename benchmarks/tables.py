"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table, or a sentence where nothing was measured."""
    body = list(lines)
    if not body:
        return "Not measured.\n"
    return "".join(f"| {' | '.join(line)} |\n" for line in (heads, ["---"] * len(heads), *body))


def fixed(value: float | None, digits: int) -> str:
    """A number with so many digits behind the point; nothing for None."""
    return "" if value is None else f"{value:.{digits}f}"
