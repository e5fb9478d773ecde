"""Looking for deleted embeddings in the bytes of files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

PIECE = 32
"""Bytes of an embedding that are looked for: by chance they are nowhere else."""

_CHUNK = 8 << 20


@dataclass(frozen=True, slots=True)
class FileSearch:
    """What was searched, and the patterns that were found, by the file's path."""

    files: tuple[Path, ...]
    nbytes: int
    found: dict[Path, frozenset[bytes]]


def pieces_of(codes: bytes) -> list[bytes]:
    """Beginning, middle and end of an embedding, PIECE bytes each; not those of few different bytes."""
    places = {0, max(0, (len(codes) - PIECE) // 2), max(0, len(codes) - PIECE)}
    pieces = [codes[place : place + PIECE] for place in sorted(places)]
    return [piece for piece in pieces if len(set(piece)) >= PIECE // 4]


def search_files(paths: Iterable[Path], patterns: Sequence[bytes]) -> FileSearch:
    """Look for byte patterns in files; one that is gone meanwhile counts as searched. Raises OSError."""
    files, total, found = [], 0, {}
    longest = max((len(pattern) for pattern in patterns), default=1)
    for path in paths:
        files.append(path)
        seen: set[bytes] = set()
        try:
            with path.open("rb") as file:
                tail = b""
                while chunk := file.read(_CHUNK):
                    total += len(chunk)
                    window = tail + chunk
                    seen |= {pattern for pattern in patterns if pattern not in seen and pattern in window}
                    tail = window[-(longest - 1) :] if longest > 1 else b""
        except FileNotFoundError:
            continue
        if seen:
            found[path] = frozenset(seen)
    return FileSearch(tuple(files), total, found)
