"""How many annotated faces of photographs an engine finds, as JSON.

    python benchmarks/accuracy/photo_recall.py PACK PHOTOS

PHOTOS: a folder with photographs and photos.csv (image, noses_xy: "x,y" in pixels of the upright picture,
separated by spaces). A face is found where one of the engine's boxes, and each for one face alone, holds its
nose.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

from facerec.config import read_settings
from facerec.engine.base import FoundFace
from facerec.engine.packs.loading import open_engine


def read_noses(photos: Path) -> dict[str, list[tuple[float, float]]]:
    """Noses (x, y) by the name of the photograph."""
    with (photos / "photos.csv").open(newline="") as stream:
        return {
            row["image"]: [_point(text) for text in row["noses_xy"].split()] for row in csv.DictReader(stream)
        }


def _point(text: str) -> tuple[float, float]:
    x, _, y = text.partition(",")
    return float(x), float(y)


def found(noses: list[tuple[float, float]], faces: list[FoundFace]) -> int:
    """How many noses lie in a box that holds no earlier nose."""
    left = list(faces)
    for x, y in noses:
        for face in left:
            if face.box[0] <= x <= face.box[2] and face.box[1] <= y <= face.box[3]:
                left.remove(face)
                break
    return len(faces) - len(left)


def main() -> None:
    """Read the command line, look at the photographs, print the figures."""
    parser = argparse.ArgumentParser(description="Count the annotated faces that an engine finds.")
    parser.add_argument("pack")
    parser.add_argument("photos", type=Path)
    chosen = parser.parse_args()
    settings = read_settings(model_path=chosen.pack)
    engine = open_engine(settings)
    annotated = hits = detected = 0
    for name, noses in read_noses(chosen.photos).items():
        faces = engine.detect(engine.decode((chosen.photos / name).read_bytes()))
        annotated += len(noses)
        detected += len(faces)
        hits += found(noses, faces)
    pack = engine.contract.pack
    engine.close()
    print(json.dumps({"pack": pack, "annotated": annotated, "found": hits, "detected": detected}))


if __name__ == "__main__":
    main()
