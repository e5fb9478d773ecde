"""Time and memory of putting thousands of faces into people, beside DBSCAN and Chinese Whispers, as JSON.

    python benchmarks/clustering/thousands.py

Faces are drawn around the directions of people, 5 of each in the mean, two of one person with a cosine near
0.6. Each method has a process of its own for each number of faces, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from typing import Any

import numpy as np
from methods import Floats, chinese_whispers, dbscan

from facerec.clustering.grouping import group_faces
from facerec.clustering.limits import Limits

LIMITS = Limits(lone=0.45, large=0.35)
ALIKE = 0.6
METHODS = ("facerec", "DBSCAN", "Chinese Whispers")


def drawn(faces: int, dimension: int) -> Floats:
    """Unit vectors (faces, dimension)."""
    chance = np.random.default_rng(0)
    people = faces // 5
    directions = chance.standard_normal((people, dimension), np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    vectors = chance.standard_normal((faces, dimension), np.float32) * np.float32(
        ((1 - ALIKE) / dimension) ** 0.5
    )
    vectors += directions[chance.integers(0, people, faces)] * np.float32(ALIKE**0.5)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def measure(method: str, faces: int, dimension: int) -> dict[str, Any]:
    """Seconds, seconds of processor time, and the memory that it takes beside the vectors, in MiB."""
    vectors = drawn(faces, dimension)
    small = vectors[:100]
    for each in (small, vectors):  # once small, so that what is loaded once is loaded
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began, busy = time.perf_counter(), time.process_time()
        if method == "facerec":
            group_faces(each, np.arange(len(each)), LIMITS)
        elif method == "DBSCAN":
            dbscan(each, LIMITS.lone)
        else:
            chinese_whispers(each, LIMITS.lone)
        seconds, processor = time.perf_counter() - began, time.process_time() - busy
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {
        "method": method,
        "faces": faces,
        "dimension": dimension,
        "seconds": seconds,
        "processor_seconds": processor,
        "mib": grown,
    }


def main() -> None:
    """Read the command line, measure, print the figures."""
    parser = argparse.ArgumentParser(description="Thousands of faces into people.")
    parser.add_argument("--faces", type=int, nargs="+", default=[5000, 20_000])
    parser.add_argument("--dimension", type=int, default=512)
    chosen = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    rows = []
    for faces in chosen.faces:
        for method in METHODS:
            with spawn.Pool(1) as alone:
                rows.append(alone.apply(measure, (method, faces, chosen.dimension)))
    print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
