"""What a pack's liveness networks say of pictures of faces, and of the same as prints and screens, as JSON.

    python benchmarks/liveness/passive.py PACK IMAGES SPOOFS [--limit N]

PACK: one with liveness networks. SPOOFS: pictures of known attacks, and of a real face. After ISO/IEC
30107-3, APCER is the share of attacks of one kind that are taken for live, BPCER that of real faces which are
not.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from recaptures import ATTACKS, Pixels

from facerec.config import read_settings
from facerec.engine.base import Engine, Picture
from facerec.engine.packs.loading import open_engine
from facerec.services.selection import by_size

THRESHOLDS = (50.0, 80.0)
"""Scores from which a face is taken for live: the default, and one that is stricter."""


def main() -> None:
    """Read the command line, look at the pictures, print the figures."""
    parser = argparse.ArgumentParser(description="Measure passive liveness.")
    for name in ("pack", "images", "spoofs"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--limit", type=int, default=150, help="pictures")
    chosen = parser.parse_args()
    engine = open_engine(read_settings(model_path=str(chosen.pack)))
    files = sorted(chosen.images.rglob("*.jpg"))
    files = files[:: max(len(files) // chosen.limit, 1)][: chosen.limit]
    scores: dict[str, list[float]] = {"real": []}
    for seed, file in enumerate(files):
        picture = engine.decode(file.read_bytes()).pixels
        scores["real"] += _score(engine, picture)
        for name, attack in ATTACKS.items():
            scores.setdefault(name, []).extend(_score(engine, attack(picture, seed)))
    recorded = {
        file.stem: round(score, 1)
        for file in sorted(chosen.spoofs.glob("*.jpg"))
        for score in _score(engine, engine.decode(file.read_bytes()).pixels)
    }
    pack = engine.contract.pack
    engine.close()
    print(json.dumps({"pack": pack, "recorded": recorded, "kinds": _figures(scores)}))


def _score(engine: Engine, pixels: Pixels) -> list[float]:
    """The score of the largest face of a picture, [] where none is found."""
    picture = Picture(np.ascontiguousarray(pixels))
    found = by_size(engine.detect(picture))[:1]
    return list(engine.liveness(picture, found) or ()) if found else []


def _share(scores: list[float], least: float) -> float:
    return round(float(np.mean(np.array(scores) >= least)), 4)


def _figures(scores: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Of each kind: how many faces, their median score, and the share taken for live at each threshold."""
    return {
        kind: {
            "faces": len(own),
            "median": round(float(np.median(own)), 1),
            **{f"live_at_{least:.0f}": _share(own, least) for least in THRESHOLDS},
        }
        for kind, own in scores.items()
    }


if __name__ == "__main__":
    main()
