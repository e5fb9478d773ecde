"""`facerec bench search`: the embedded vector store, beside other ways to find the nearest vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from facerec.cli.bench.options import numbers
from facerec.cli.output import AsJson, note, print_json, print_table
from facerec.config import read_settings

if TYPE_CHECKING:  # the kernels take a while to load; `facerec --help` should not
    from facerec.cli.bench.search_gallery import Gallery
    from facerec.cli.bench.search_measures import SearchFigures
    from facerec.cli.bench.search_starts import StartFigures

LEAST_FACES, MOST_FACES = 1000, 20_000_000
LEAST_DIMENSIONS, MOST_DIMENSIONS = 64, 4096


def bench_search(
    faces: Annotated[
        str, typer.Option(help="Numbers of faces, measured one after the other.")
    ] = "100000,1000000",
    dimensions: Annotated[str, typer.Option(help="Numbers of an embedding's dimensions.")] = "128,512",
    threads: Annotated[
        int | None, typer.Option(min=1, max=256, help="Threads; default: FACEREC_THREADS.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Rounds after one that warms up.")] = 7,
    asked: Annotated[
        int, typer.Option(min=1, max=100_000, help="Probes, asked one by one, of which matches are counted.")
    ] = 2000,
    peer: Annotated[
        str | None,
        typer.Option(
            help="Of numpy, faiss, usearch, hnswlib, pgvector, separated by commas (pip install "
            "'facerec[bench]'); none for none; default: numpy and faiss, where it is installed."
        ),
    ] = None,
    starts: Annotated[bool, typer.Option(help="Also fill a database, and measure starts and bytes.")] = True,
    as_json: AsJson = False,
) -> None:
    """Measure searching: milliseconds a query, matches found, bytes a face, seconds to build and to start.

    The faces are uniform directions, the hard case; the probes match one face each, as little as a match may.
    With exact peers it takes 6 KB of memory a face of 512 dimensions, without 0.6. Graphs take long to build.
    """
    # The kernels of the search take a while to load; `facerec --help` should not.
    from facerec.cli.bench.search_gallery import Gallery
    from facerec.cli.bench.search_measures import measure_search
    from facerec.cli.bench.search_peers import peer_openers
    from facerec.cli.bench.search_starts import measure_starts

    used = threads or read_settings().threads
    openers = peer_openers(peer)
    galleries = [
        Gallery(count, size)
        for count in numbers(faces, "--faces", LEAST_FACES, MOST_FACES)
        for size in numbers(dimensions, "--dimensions", LEAST_DIMENSIONS, MOST_DIMENSIONS)
    ]
    searches = []
    for gallery in galleries:
        note(f"{gallery.count} faces of {gallery.dimension} dimensions")
        searches += measure_search(gallery, used, rounds, openers, asked)
    opened = [figures for gallery in galleries for figures in measure_starts(gallery, used)] if starts else []
    if as_json:
        print_json(_figures(used, rounds, galleries, searches, opened))
    else:
        _print(used, rounds, searches, opened)


def _figures(
    threads: int,
    rounds: int,
    galleries: Sequence[Gallery],
    searches: Sequence[SearchFigures],
    starts: Sequence[StartFigures],
) -> dict[str, object]:
    """All that was measured, and how, as JSON values."""
    from facerec.cli.bench.search_measures import BATCH, CALLERS

    return {
        "threads": threads,
        "rounds": rounds,
        "batch": BATCH,
        "callers": CALLERS,
        "numpy": version("numpy"),
        "galleries": [
            {
                "faces": gallery.count,
                "dimension": gallery.dimension,
                "threshold": gallery.threshold,
                "planted_cosine": gallery.planted_cosine,
            }
            for gallery in galleries
        ],
        "searches": [asdict(one) for one in searches],
        "starts": [asdict(one) for one in starts],
    }


def _print(
    threads: int, rounds: int, searches: Sequence[SearchFigures], starts: Sequence[StartFigures]
) -> None:
    """Tables for a person."""
    from facerec.cli.bench.search_measures import BATCH

    headings = (
        *(
            "faces",
            "dimension",
            "store",
            "one, ms",
            "least, ms",
            f"of {BATCH}, ms each",
            "matches found",
            "of",
        ),
        *("bytes a face", "build, s", "reading alone, ms", "share", "together, /s"),
    )
    rows = [tuple((asdict(one) | {"found": f"{one.found:.4f}"}).values()) for one in searches]
    print_table(headings, rows, title=f"{threads} threads, medians of {rounds} rounds")
    if starts:
        print_table(
            ("faces", "dimension", "snapshots", "first start, s", "later starts, s", "bytes a face"),
            [tuple(asdict(one).values()) for one in starts],
        )
