"""How well faces are put into people without being told who is who, beside other methods, as JSON.

    python benchmarks/clustering/who_is_who.py PACK IMAGES

IMAGES: pictures named NAME_0001.jpg, as LFW's are; of each the face nearest the centre is the named one. All
methods get the same embeddings: once of the people with five pictures or more, once of everybody. They come
in random orders, the same for all, and figures are means over these.

Nobody tunes a running service on albums whose people are known. So each method has its rows with what it
would run with: ours with the limits of the pack's calibration, the others with the two cosines of it, and
with their own defaults. Beside these is what each reaches with the one cosine that is best for this very set,
of as many as the grid has: no user has that.

As a pack's calibration may come of these pictures, ours is also run with calibrations of other people: half
of the people are grouped with what the strangers among all others tell, and the other way round.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from methods import (
    PEERS,
    Floats,
    Method,
    Numbers,
    by_calibration,
    chinese_whispers,
    dbscan,
    in_batches,
    one_cut,
)
from scores import Score, by_faces, by_pairs

from facerec.cli.pairs import FaceChoice, embed_images
from facerec.config import read_settings
from facerec.engine.calibration import Knots
from facerec.engine.packs.loading import open_engine
from facerec.services.evaluation import calibration_knots, impostor_statistics

SETS = {"people with 5 pictures or more": 5, "everybody": 1}
LOOSEST, STRICTEST = 50.0, 99.5
"""Similarities that the grid of cosines lies between."""
DISTANCE = 0.5
"""Default of scikit-learn's DBSCAN (with 5 faces), and of dlib's example of Chinese Whispers..."""
LENGTHS = {"dlib": 1.415}
"""...which has dlib's embeddings as its network gives them: 1.415 long in the mean, 0.05 more or less. Other
networks have no such default."""

HALVINGS = 5

CosineOf = Callable[[float], float]


def score(groupings: Iterable[tuple[Numbers, Numbers]]) -> dict[str, Any]:
    """Means over groupings, each with who is who."""
    scored = [
        (by_pairs(found, true), by_faces(found, true), len(set(found.tolist()))) for found, true in groupings
    ]
    return {
        "pairs": _mean([pairs for pairs, _, _ in scored]).as_json(),
        "faces": _mean([faces for _, faces, _ in scored]).as_json(),
        "people": float(np.mean([people for _, _, people in scored])),
    }


def _mean(scores: list[Score]) -> Score:
    return Score(
        float(np.mean([each.precision for each in scores])), float(np.mean([each.recall for each in scores]))
    )


def rows(
    vectors: Floats, true: Numbers, cosine_of: CosineOf, pack: str, orders: int, grid: int
) -> Iterator[dict[str, Any]]:
    """All methods over one set of faces."""
    drawn = [np.random.default_rng(seed).permutation(len(true)) for seed in range(orders)]

    def run(group: Callable[[Floats], Numbers]) -> dict[str, Any]:
        return score((group(vectors[order]), true[order]) for order in drawn)

    def at(name: str, how: str, method: Method, cosine: float) -> dict[str, Any]:
        return {"method": name, "how": how, "cosine": cosine, **run(lambda faces: method(faces, cosine))}

    by_pack = run(partial(by_calibration, cosine_of=cosine_of))
    yield {"method": "facerec", "how": "the pack's calibration", **by_pack}
    for how, anew in (("ten batches", True), ("ten batches, new faces only join", False)):
        yield {"method": "facerec", "how": how, **run(partial(in_batches, cosine_of=cosine_of, anew=anew))}
    for name, method in PEERS.items():
        for similarity in (80.0, 99.0):
            yield at(name, f"the pack's cosine of {similarity:.0f}", method, cosine_of(similarity))
    yield at("DBSCAN, 5 faces", "its default", partial(dbscan, least=5), 1.0 - DISTANCE**2 / 2.0)
    if pack in LENGTHS:
        cosine = 1.0 - (DISTANCE / LENGTHS[pack]) ** 2 / 2.0
        yield at("Chinese Whispers", "dlib's example", chinese_whispers, cosine)
    cosines = np.linspace(cosine_of(LOOSEST), cosine_of(STRICTEST), grid)
    for name, method in {"facerec, one limit": one_cut, **PEERS}.items():
        tried = [at(name, "best for this set", method, float(each)) for each in cosines]
        yield max(tried, key=lambda row: row["pairs"]["f1"])


def calibrated_elsewhere(
    vectors: Floats, true: Numbers, wanted: Numbers, cosine_of: CosineOf
) -> Iterator[dict[str, Any]]:
    """Halves of the people of a set, by the pack's calibration and by one of the strangers among all others.

    wanted: the people of the set; vectors and true are everybody's.
    """
    own, other = [], []
    for seed in range(HALVINGS):
        mixed = np.random.default_rng(seed).permutation(wanted)
        for half in np.array_split(mixed, 2):
            inside = np.isin(true, half)
            knots = Knots(calibration_knots(impostor_statistics(vectors[~inside], _names(true[~inside]))))
            own.append((by_calibration(vectors[inside], cosine_of), true[inside]))
            other.append((by_calibration(vectors[inside], knots.cosine), true[inside]))
    yield {"method": "facerec", "how": "halves, the pack's calibration", **score(own)}
    yield {"method": "facerec", "how": "halves, calibrated on the others", **score(other)}


def _names(numbers: Numbers) -> list[str]:
    return [str(number) for number in numbers]


def main() -> None:
    """Read the command line, measure, print the figures."""
    parser = argparse.ArgumentParser(description="Faces into people, beside other methods.")
    parser.add_argument("pack")
    parser.add_argument("images", type=Path)
    parser.add_argument("--orders", type=int, default=3, help="random orders of the faces")
    parser.add_argument("--grid", type=int, default=24, help="cosines that the best is one of")
    chosen = parser.parse_args()
    settings = read_settings(model_path=chosen.pack)
    engine = open_engine(settings)
    names = sorted(file.name for file in chosen.images.glob("*.jpg"))
    embedded = embed_images(engine, chosen.images, names, FaceChoice.CENTRE, settings.threads + 1)
    pack, cosine_of = engine.contract.pack, engine.calibration.cosine
    engine.close()
    persons = np.array([name.rsplit("_", 1)[0] for name in names])[embedded.found]
    vectors = embedded.vectors[embedded.found]
    _, true, photos = np.unique(persons, return_inverse=True, return_counts=True)
    sets = []
    for title, least in SETS.items():
        wanted = np.flatnonzero(photos >= least)
        inside = np.isin(true, wanted)
        found = [
            *rows(vectors[inside], true[inside], cosine_of, pack, chosen.orders, chosen.grid),
            *calibrated_elsewhere(vectors, true, wanted, cosine_of),
        ]
        sets.append({"set": title, "faces": int(inside.sum()), "people": len(wanted), "rows": found})
    print(json.dumps({"pack": pack, "without_face": int((~embedded.found).sum()), "sets": sets}))


if __name__ == "__main__":
    main()
