"""Writes fixtures/dlib_reference.json: what dlib itself finds in a few pictures.

Run where dlib 20 is installed (it is no dependency of the project), with the folder of the real pictures, the
folder of the model files, and scikit-image's astronaut.png:

    python make_dlib_fixtures.py ../shared/data .../face_recognition_models/models
    .../skimage/data/astronaut.png
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import dlib  # only where the fixtures are made
import numpy as np
from PIL import Image

# Pictures by name, a part of the picture (left, top, right, bottom) or all of it, and boxes to use instead of
# detection: for faces that reach beyond the picture, and for large ones that the chip halves up to three
# times.
CASES = (
    ("astronaut", None, None),
    ("astronaut", (150, 0, 330, 190), None),
    ("astronaut", (210, 60, 300, 300), [[-20, -20, 75, 75]]),
    ("astronaut", None, [[-40, -60, 500, 480], [300, 20, 420, 140]]),
    ("lfw/images/Abel_Pacheco_0001.jpg", None, None),
    ("lfw/images/Tony_Blair_0018.jpg", None, None),
    ("lfw/images/JP_Suarez_0001.jpg", None, None),
    ("lfw/images/Tom_Harkin_0004.jpg", None, None),
    ("lfw/images/Pervez_Musharraf_0006.jpg", None, None),
    ("photos/010_2.jpg", None, [[320, 190, 375, 245], [480, 225, 535, 280]]),
    ("photos/002_A.jpg", None, [[1596, 1795, 2746, 2945]]),
)


def digest(chip: np.ndarray) -> list[int]:
    """Sums of the chip's pixels with fixed random signs: no picture, steady where a pixel is off."""
    signs = np.random.default_rng(16).integers(0, 2, (16, chip.size), dtype=np.int64) * 2 - 1
    return [int(value) for value in signs @ chip.reshape(-1).astype(np.int64)]


def main() -> None:
    data, models, astronaut = (Path(argument) for argument in sys.argv[1:])
    detector = dlib.cnn_face_detection_model_v1(str(models / "mmod_human_face_detector.dat"))
    predictor = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
    recognizer = dlib.face_recognition_model_v1(str(models / "dlib_face_recognition_resnet_model_v1.dat"))
    cases = []
    for name, part, boxes in CASES:
        image = np.array(Image.open(astronaut if name == "astronaut" else data / name).convert("RGB"))
        if part:
            image = np.ascontiguousarray(image[part[1] : part[3], part[0] : part[2]])
        if boxes is None:
            found = [(hit.rect, hit.confidence) for hit in detector(image, 0)]
        else:
            found = [(dlib.rectangle(*box), None) for box in boxes]
        faces = []
        for box, score in found:
            shape = predictor(image, box)
            chip = dlib.get_face_chip(image, shape, 150, 0.25)
            # The pack's embedding is the mean of the chip's and its mirror image's.
            mirror_image = np.ascontiguousarray(chip[:, ::-1])
            both = [np.array(recognizer.compute_face_descriptor(picture)) for picture in (chip, mirror_image)]
            embedding = np.mean(both, axis=0)
            faces.append(
                {
                    "box": [box.left(), box.top(), box.right(), box.bottom()],
                    "score": score,
                    "landmarks": [[point.x, point.y] for point in shape.parts()],
                    "chip": digest(chip),
                    "embedding": [round(float(value), 6) for value in embedding],
                }
            )
        cases.append({"image": name, "part": part, "detected": boxes is None, "faces": faces})
    lines = ",\n".join(json.dumps(case) for case in cases)
    target = Path(__file__).parent / "fixtures" / "dlib_reference.json"
    target.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
