"""How the calibration of the default pack came about, and why its embeddings are not centred.

    python benchmarks/accuracy/dlib_calibration.py LFW

LFW: a folder with pairs.csv (image_a, image_b, same_person, fold) and images/, as the tests have it. From
each image the face nearest its centre is embedded once; every face is then compared with every face of
somebody else, which gives a thousand times the impostors that pairs.csv lists. Printed are, for the output of
the crop alone and for the pack's mean with the mirror image:

- the cosines at fixed false match rates, for all pairs and for each fold on its own: the pack's knots;
- accuracy over the folds and TAR at FAR 1 % after subtracting a part of the mean embedding, which is learnt
  on the other folds.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facerec.engine.alignment.dlib_chip import DlibChipAligner
from facerec.engine.base import Pixels
from facerec.engine.detection.mmod import MmodDetector
from facerec.engine.landmarks import ShapePredictor, load_forest
from facerec.engine.packs import dlib
from facerec.engine.packs.dlib_onnx import recognizer_to_onnx
from facerec.engine.packs.manifest import read_manifest
from facerec.engine.recognition import OnnxRecognizer
from facerec.engine.runtime.pixel_input import PixelInput
from facerec.engine.runtime.session import open_session
from facerec.services.evaluation import cross_validate, operating_point

RATES = (0.5, 0.1, 1e-2, 1e-3, 1e-4, 1e-5)
SHARES = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0)
THREADS = 2

Floats = NDArray[np.float64]


def crop_all(folder: Path, names: list[str]) -> dict[str, Pixels]:
    """Crops (1, 150, 150, 3) by image name, of the images with a face."""
    with tempfile.TemporaryDirectory() as cache:
        manifest = read_manifest(dlib.prepare(Path(cache)))
        assert manifest.landmarker is not None
        detector = MmodDetector(
            open_session(manifest.detector.file, runtime="auto", threads=THREADS),
            threshold=manifest.detector.threshold,
            nms=manifest.detector.nms,
            sizes=manifest.detector.sizes,
        )
        predictor = ShapePredictor(load_forest(manifest.landmarker.file.read_bytes(), "landmarks"))
    aligner = DlibChipAligner()
    crops = {}
    for name in names:
        image = np.asarray(Image.open(folder / name).convert("RGB"), np.uint8)
        boxes = detector.detect(image).boxes
        if not len(boxes):
            print(f"no face in {name}")
            continue
        centre = np.array([image.shape[1], image.shape[0]]) / 2
        distance = np.linalg.norm((boxes[:, :2] + boxes[:, 2:]) / 2 - centre, axis=1)
        box = boxes[[int(distance.argmin())]]
        crops[name] = aligner.align(image, predictor.locate(image, box))
    return crops


def embed_all(crops: dict[str, Pixels], *, mirrored: bool) -> Floats:
    """Embeddings (N, 128) of N crops, not normalised."""
    model = recognizer_to_onnx(dlib.recognition_network(), mirrored=mirrored)
    session = open_session(model, runtime="auto", threads=THREADS, pixels=PixelInput("rgb", 0.0, 1.0))
    recognizer = OnnxRecognizer(session)
    return np.concatenate([recognizer.embed(crop) for crop in crops.values()]).astype(np.float64)


def print_rates(title: str, cosines: Floats) -> None:
    """The cosine that each share of the impostors exceeds."""
    ordered = np.sort(cosines)[::-1]
    found = ", ".join(f"{rate:g}: {ordered[int(rate * len(ordered))]:.4f}" for rate in RATES)
    print(f"{title}: {len(ordered)} pairs of different people; cosine exceeded by {found}")


def unit(vectors: Floats) -> Floats:
    """The vectors (N, D) at length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float64)


def report(vectors: Floats, names: list[str], rows: list[dict[str, str]], fold_of: dict[str, int]) -> None:
    """Print rates, and the accuracy with parts of the mean subtracted."""
    folds = np.array([fold_of[name] for name in names])
    people = np.array([name.rsplit("_", 1)[0] for name in names])
    first, second = np.triu_indices(len(names), 1)
    strangers = people[first] != people[second]
    first, second = first[strangers], second[strangers]
    units = unit(vectors)
    cosines = np.einsum("nd,nd->n", units[first], units[second])
    print_rates("all folds", cosines)
    for fold in sorted(set(folds)):
        print_rates(f"fold {fold}", cosines[(folds[first] == fold) & (folds[second] == fold)])

    place = {name: i for i, name in enumerate(names)}
    pairs = [(place.get(row["image_a"]), place.get(row["image_b"])) for row in rows]
    same = np.array([row["same_person"] == "1" for row in rows])
    pair_folds = np.array([int(row["fold"]) for row in rows])
    for share in SHARES:
        centred = vectors.copy()
        for fold in sorted(set(folds)):
            centred[folds == fold] -= share * vectors[folds != fold].mean(axis=0)
        centred = unit(centred)
        found = np.array([-1.0 if a is None or b is None else centred[a] @ centred[b] for a, b in pairs])
        accuracy = cross_validate(found, same, pair_folds).accuracy
        point = operating_point(found, same, 0.01)
        print(f"{share:4.0%} of the mean off: accuracy {accuracy:.4f}, TAR {point.tar:.4f} at FAR 1 %")


def main() -> None:
    """Measure and print."""
    folder = Path(sys.argv[1])
    with (folder / "pairs.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    fold_of = {row[side]: int(row["fold"]) for row in rows for side in ("image_a", "image_b")}
    crops = crop_all(folder / "images", sorted(fold_of))
    for mirrored in (False, True):
        print("mean of crop and mirror image" if mirrored else "crop alone")
        report(embed_all(crops, mirrored=mirrored), list(crops), rows, fold_of)


if __name__ == "__main__":
    main()
