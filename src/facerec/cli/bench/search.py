"""`facerec bench search`: the embedded vector store, beside exact searches of float32 vectors."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import Annotated

import typer

from facerec.cli.bench.options import numbers
from facerec.cli.output import AsJson, note, print_json, print_table
from facerec.config import read_settings

LEAST_FACES, MOST_FACES = 1000, 20_000_000
LEAST_DIMENSIONS, MOST_DIMENSIONS = 64, 4096


def bench_search(
    faces: Annotated[str, typer.Option(help="Numbers of faces, measured one after the other.")] = "100000",
    dimensions: Annotated[str, typer.Option(help="Numbers of an embedding's dimensions.")] = "128,512",
    threads: Annotated[
        int | None, typer.Option(min=1, max=256, help="Threads; default: FACEREC_THREADS.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Rounds after one that warms up.")] = 7,
    starts: Annotated[bool, typer.Option(help="Also fill a database, and measure starts and bytes.")] = True,
    as_json: AsJson = False,
) -> None:
    """Measure searching: milliseconds a query, seconds to start, bytes a face.

    The vectors are uniform directions, the hard case. Takes about 5 KB of memory a face of 512 dimensions.
    """
    # FAISS takes a while to load; `facerec --help` should not.
    from facerec.cli.bench.search_measures import BATCH, measure_search, measure_start

    used = threads or read_settings().threads
    counts = numbers(faces, "--faces", LEAST_FACES, MOST_FACES)
    cases = [
        (count, size)
        for count in counts
        for size in numbers(dimensions, "--dimensions", LEAST_DIMENSIONS, MOST_DIMENSIONS)
    ]
    searches = []
    for count, size in cases:
        note(f"{count} faces of {size} dimensions")
        searches += measure_search(count, size, used, rounds)
    opened = [measure_start(count, size, used) for count, size in cases] if starts else []
    if as_json:
        versions = {"faiss": version("faiss-cpu"), "numpy": version("numpy")}
        figures = {"searches": [asdict(one) for one in searches], "starts": [asdict(one) for one in opened]}
        print_json({"threads": used, "rounds": rounds, "batch": BATCH, **versions, **figures})
        return
    print_table(
        ("faces", "dimension", "store", "one, ms", f"of {BATCH}, ms each", "nearest equal", "together, /s"),
        [tuple(asdict(one).values()) for one in searches],
        title=f"{used} threads, medians of {rounds} rounds",
    )
    if opened:
        print_table(
            ("faces", "dimension", "first start, s", "later starts, s", "bytes a face"),
            [tuple(asdict(one).values()) for one in opened],
        )
