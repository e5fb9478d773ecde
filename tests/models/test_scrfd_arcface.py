"""SCRFD, YuNet, ArcFace alignment and a MobileFaceNet recogniser with real weights, on real photographs."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from facerec.engine.alignment.arcface import ArcFaceAligner
from facerec.engine.base import Detections, Detector, Floats, Pixels
from facerec.engine.detection import scrfd, yunet
from facerec.engine.recognition import OnnxRecognizer, batch_shape
from facerec.engine.runtime.pixel_input import PixelInput
from facerec.engine.runtime.session import open_session

RUNTIMES = ("openvino", "onnxruntime")
SIZES = (640, 160)


@dataclass(frozen=True)
class Photo:
    name: str
    person: str
    noses: NDArray[np.float64]
    """(N, 2) pixels of the upright picture."""
    file: Path

    def pixels(self) -> Pixels:
        return read(self.file)


def read(file: Path) -> Pixels:
    """An upright picture in RGB; OpenCV obeys the EXIF orientation."""
    return np.asarray(cv2.imread(str(file), cv2.IMREAD_COLOR_RGB), np.uint8)


@pytest.fixture(scope="module")
def photos(shared: Path) -> list[Photo]:
    folder = shared / "data" / "photos"
    with (folder / "photos.csv").open() as lines:
        return [
            Photo(
                row["image"],
                row["person"],
                np.array([nose.split(",") for nose in row["noses_xy"].split()], float).reshape(-1, 2),
                folder / row["image"],
            )
            for row in csv.DictReader(lines)
        ]


Open = Callable[[str, str], Detector]


@pytest.fixture(scope="module")
def open_detector(shared: Path) -> Iterator[Open]:
    """Opens a detector by its file's name and runtime, once."""
    opened: dict[tuple[str, str], Detector] = {}

    def detector(name: str, runtime: str) -> Detector:
        if (name, runtime) not in opened:
            session = open_session(
                shared / "models" / f"{name}.onnx",
                runtime=runtime,
                threads=1,
                input_shape=scrfd.INPUT_SHAPE,
                pixels=yunet.PIXELS if name.startswith("yunet") else scrfd.PIXELS,
            )
            if name.startswith("yunet"):
                opened[name, runtime] = yunet.YunetDetector(session, threshold=0.7, nms=0.3, sizes=SIZES)
            else:
                opened[name, runtime] = scrfd.ScrfdDetector(session, threshold=0.5, nms=0.4, sizes=SIZES)
        return opened[name, runtime]

    yield detector
    opened.clear()


@pytest.fixture(scope="module")
def recognizer(shared: Path) -> OnnxRecognizer:
    return open_recognizer(shared, "openvino")


def open_recognizer(shared: Path, runtime: str) -> OnnxRecognizer:
    session = open_session(
        shared / "models" / "mobilefacenet_128d.onnx",
        runtime=runtime,
        threads=1,
        input_shape=batch_shape(112),
        pixels=PixelInput("rgb", mean=127.5, std=128.0),
    )
    return OnnxRecognizer(session)


def points(faces: Detections) -> Floats:
    assert faces.landmarks is not None
    return faces.landmarks


def faces_at(noses: NDArray[np.float64], faces: Detections) -> list[int]:
    """For each nose the face whose nose tip lies nearest, if within a quarter of its height; else -1."""
    found = []
    for nose in noses:
        away = np.hypot(*(points(faces)[:, 2] - nose).T)
        heights = faces.boxes[:, 3] - faces.boxes[:, 1]
        near = int(np.argmin(away)) if len(away) else -1
        found.append(near if near >= 0 and away[near] < heights[near] / 4 else -1)
    return found


def embed(image: Pixels, landmarks: Floats, recognizer: OnnxRecognizer) -> Floats:
    """Unit embeddings of faces."""
    embeddings = recognizer.embed(ArcFaceAligner().align(image, landmarks))
    return np.asarray(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize(
    ("name", "runtime"),
    [
        ("scrfd_500m_bnkps", "openvino"),
        ("scrfd_500m_bnkps", "onnxruntime"),
        ("scrfd_2.5g_bnkps", "openvino"),
        ("yunet_n_dynamic", "openvino"),
        ("yunet_n_dynamic", "onnxruntime"),
    ],
)
def test_every_annotated_face_is_found_and_nothing_where_there_is_none(
    photos: list[Photo], open_detector: Open, name: str, runtime: str
) -> None:
    detector = open_detector(name, runtime)
    for photo in photos:
        faces = detector.detect(photo.pixels())
        places = faces_at(photo.noses, faces)
        assert -1 not in places, photo.name
        assert len(set(places)) == len(photo.noses), photo.name
        if not len(photo.noses):
            assert len(faces.boxes) == 0, photo.name


@pytest.mark.parametrize("name", ["scrfd_500m_bnkps", "scrfd_2.5g_bnkps", "yunet_n_dynamic"])
def test_landmarks_are_in_the_promised_order(photos: list[Photo], open_detector: Open, name: str) -> None:
    detector = open_detector(name, "openvino")
    faces = detector.detect(next(photo for photo in photos if photo.name == "016_8.jpg").pixels())
    assert len(faces.boxes) >= 8
    left_eye, right_eye, nose, left_mouth, right_mouth = points(faces).transpose(1, 0, 2)
    assert (left_eye[:, 0] < right_eye[:, 0]).all()
    assert (left_mouth[:, 0] < right_mouth[:, 0]).all()
    assert (left_eye[:, 1] < nose[:, 1]).all()
    assert (nose[:, 1] < right_mouth[:, 1]).all()


def test_people_are_recognised_across_their_photographs_and_no_one_else_is(
    photos: list[Photo], open_detector: Open, recognizer: OnnxRecognizer
) -> None:
    detector = open_detector("scrfd_500m_bnkps", "openvino")
    people, embeddings = [], []
    for photo in photos:
        image = photo.pixels()
        faces = detector.detect(image)
        for index, place in enumerate(faces_at(photo.noses, faces)):
            people.append(photo.person or f"{photo.name} {index}")
            embeddings.append(embed(image, points(faces)[place : place + 1], recognizer)[0])
    cosines = np.array(embeddings) @ np.array(embeddings).T
    same = np.array([[one == other for other in people] for one in people])
    pairs = np.triu(np.ones_like(same), 1)
    assert people.count("A") == 6
    assert people.count("B") == 2
    # Faces of group photographs bear no name, and some people are in several of them.
    named = np.array([[bool({one, other} & {"A", "B", "C"}) for other in people] for one in people])
    assert cosines[pairs & same].min() > 0.5
    assert cosines[pairs & named & ~same].max() < 0.4


def test_detections_equal_insightface(photos: list[Photo], shared: Path) -> None:
    """What insightface 2.1 finds in 000_5.jpg at 640 pixels with the same weights.

    The picture, 819 x 546, becomes 640 x 426. insightface divides both axes by 426 / 546, we each by its own.
    """
    file = shared / "models" / "scrfd_500m_bnkps.onnx"
    session = open_session(file, runtime="onnxruntime", threads=1, pixels=scrfd.PIXELS)
    detector = scrfd.ScrfdDetector(session, threshold=0.5, nms=0.4, sizes=(640,))
    faces = detector.detect(photos[0].pixels())
    axes = np.array([(426 / 546) / (640 / 819), 1.0])
    np.testing.assert_allclose(faces.boxes, INSIGHTFACE_BOXES * [*axes, *axes], atol=0.05)
    np.testing.assert_allclose(faces.scores, INSIGHTFACE_SCORES, atol=0.001)
    np.testing.assert_allclose(points(faces)[0], INSIGHTFACE_FIRST_LANDMARKS * axes, atol=0.1)


def test_a_file_of_one_size_answers_as_the_freed_one(photos: list[Photo], shared: Path) -> None:
    file = shared / "models" / "scrfd_500m_bnkps.onnx"
    image = photos[4].pixels()[:2000, :2000]
    found = []
    for shape in (None, scrfd.INPUT_SHAPE):
        session = open_session(file, runtime="openvino", threads=1, input_shape=shape, pixels=scrfd.PIXELS)
        found.append(scrfd.ScrfdDetector(session, threshold=0.3, nms=0.4, sizes=(640,)).detect(image))
    np.testing.assert_allclose(found[0].boxes, found[1].boxes, atol=0.05)
    np.testing.assert_allclose(found[0].scores, found[1].scores, atol=1e-4)
    assert len(found[0].boxes) > 0


def test_a_file_of_one_size_finds_faces_that_fill_the_frame(shared: Path) -> None:
    file = shared / "models" / "scrfd_500m_bnkps.onnx"
    session = open_session(file, runtime="openvino", threads=1, pixels=scrfd.PIXELS)
    detector = scrfd.ScrfdDetector(session, threshold=0.5, nms=0.4, sizes=SIZES)
    image = read(shared / "data" / "lfw" / "images" / "Abel_Pacheco_0001.jpg")
    face = detector.detect(image)
    left, top, right, bottom = face.boxes[0].round().astype(int)
    close = cv2.resize(image[top:bottom, left:right], None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    assert len(detector.detect(np.asarray(close, np.uint8)).boxes) == 1


@pytest.mark.parametrize("name", ["scrfd_500m_bnkps", "yunet_n_dynamic"])
@pytest.mark.parametrize("share", [1.0, 0.8])
@pytest.mark.parametrize("longer", [800, 250])
def test_faces_cropped_to_fill_the_frame_are_found(
    shared: Path, open_detector: Open, name: str, share: float, longer: int
) -> None:
    """Sixty faces of LFW cut to their box, or tighter, and enlarged; the smaller ones are looked at once."""
    detector = open_detector(name, "openvino")
    missed = []
    for file in sorted((shared / "data" / "lfw" / "images").rglob("*.jpg"))[::26]:
        image = read(file)
        face = nearest_the_centre(open_detector("scrfd_500m_bnkps", "openvino").detect(image), image)
        centre, reach = (face[:2] + face[2:]) / 2, (face[2:] - face[:2]) / 2 * share
        left, top = np.maximum(centre - reach, 0).astype(int)
        right, bottom = (centre + reach).astype(int)
        close = image[top:bottom, left:right]
        zoom = longer / max(close.shape)
        close = np.asarray(cv2.resize(close, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC), np.uint8)
        boxes = detector.detect(close).boxes
        sides = boxes[:, 2:] - boxes[:, :2]
        if not (sides.max(axis=1, initial=0) > 0.6 * max(close.shape)).any():
            missed.append(file.name)
    assert missed == []


def nearest_the_centre(faces: Detections, image: Pixels) -> Floats:
    """The box (4,) of the face nearest the picture's centre."""
    middles = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    place = ((middles - [image.shape[1] / 2, image.shape[0] / 2]) ** 2).sum(axis=1).argmin()
    return np.asarray(faces.boxes[place], np.float32)


def test_faces_of_ten_pixels_in_a_small_picture_are_found(photos: list[Photo], open_detector: Open) -> None:
    detector = open_detector("scrfd_500m_bnkps", "openvino")
    for photo in photos:
        if len(photo.noses) < 2:
            continue
        image = photo.pixels()
        zoom = 250 / max(image.shape)
        small = np.asarray(cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA), np.uint8)
        assert -1 not in faces_at(photo.noses * zoom, detector.detect(small)), photo.name


@pytest.mark.parametrize("name", ["scrfd_500m_bnkps", "scrfd_2.5g_bnkps", "yunet_n_dynamic"])
def test_the_runtimes_agree_on_detections(photos: list[Photo], open_detector: Open, name: str) -> None:
    for photo in (photos[0], photos[8], photos[16]):
        one, other = (open_detector(name, runtime).detect(photo.pixels()) for runtime in RUNTIMES)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=0.05)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-3)
        np.testing.assert_allclose(points(one), points(other), atol=0.05)


def test_the_runtimes_agree_on_embeddings_and_batches_change_nothing(
    photos: list[Photo], shared: Path, open_detector: Open
) -> None:
    photo = next(photo for photo in photos if photo.name == "016_8.jpg")
    image = photo.pixels()
    faces = open_detector("scrfd_500m_bnkps", "openvino").detect(image)
    crops = ArcFaceAligner().align(image, points(faces))
    assert len(crops) >= 8
    answers = []
    for runtime in RUNTIMES:
        recognizer = open_recognizer(shared, runtime)
        together = recognizer.embed(crops)
        alone = np.concatenate([recognizer.embed(crop[None]) for crop in crops])
        np.testing.assert_allclose(together, alone, atol=1e-4)
        answers.append(together)
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-3)
    assert answers[0].shape == (len(crops), 128)


@pytest.mark.slow
@pytest.mark.parametrize(("sizes", "most_missed"), [(SIZES, 0), ((640,), 2)])
def test_lfw_is_verified_as_well_as_the_reference_does(
    shared: Path, recognizer: OnnxRecognizer, sizes: tuple[int, ...], most_missed: int
) -> None:
    """Folds 1 and 2, face nearest the centre: at least 99.2 % at the threshold of the other fold.

    Which pairs come out wrong changes with the size at which the detector looks, how many hardly does: at 250
    to 640 pixels 99.0 to 99.4 %, with the same separation of the cosines (d' of 5.4 to 5.5). With a second
    size, no face is missed. The reference looks at 640 pixels alone and misses some.
    """
    session = open_session(
        shared / "models" / "scrfd_500m_bnkps.onnx",
        runtime="openvino",
        threads=2,
        input_shape=scrfd.INPUT_SHAPE,
        pixels=scrfd.PIXELS,
    )
    detector = scrfd.ScrfdDetector(session, threshold=0.5, nms=0.4, sizes=sizes)
    with (shared / "data" / "lfw" / "pairs.csv").open() as lines:
        pairs = list(csv.DictReader(lines))
    files = {file.name: file for file in (shared / "data" / "lfw" / "images").rglob("*.jpg")}
    embeddings = {}
    for name in {pair[key] for pair in pairs for key in ("image_a", "image_b")}:
        image = read(files[name])
        faces = detector.detect(image)
        if len(faces.boxes):
            box = nearest_the_centre(faces, image)
            place = int(np.abs(faces.boxes - box).sum(axis=1).argmin())
            embeddings[name] = embed(image, points(faces)[place : place + 1], recognizer)[0]
    assert len(files) - len(embeddings) <= most_missed
    cosines = np.array([cosine(embeddings, pair["image_a"], pair["image_b"]) for pair in pairs])
    same = np.array([pair["same_person"] == "1" for pair in pairs])
    fold = np.array([pair["fold"] for pair in pairs])
    right = [
        (cosines[fold == tested] >= best_threshold(cosines[fold != tested], same[fold != tested]))
        == same[fold == tested]
        for tested in sorted(set(fold))
    ]
    accuracy = float(np.mean(np.concatenate(right)))
    assert accuracy >= (0.992 if most_missed == 0 else 0.990)


def cosine(embeddings: dict[str, Floats], one: str, other: str) -> float:
    """Cosine of two pictures; -1 where no face was found in one of them."""
    if one not in embeddings or other not in embeddings:
        return -1.0
    return float(embeddings[one] @ embeddings[other])


def best_threshold(cosines: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    """The middle of the thresholds with which most pairs are judged rightly."""
    candidates = np.linspace(-1, 1, 2001)
    right = np.array([((cosines >= candidate) == same).mean() for candidate in candidates])
    return float(np.median(candidates[right == right.max()]))


INSIGHTFACE_BOXES = np.array(
    [
        [256.5, 188.39, 335.02, 295.55],
        [560.24, 237.85, 648.33, 346.65],
        [435.45, 249.83, 517.01, 354.08],
        [178.81, 54.38, 255.07, 142.76],
        [356.15, 176.23, 423.37, 254.67],
    ]
)
INSIGHTFACE_SCORES = np.array([0.8973, 0.8866, 0.8780, 0.8708, 0.8436])
INSIGHTFACE_FIRST_LANDMARKS = np.array(
    [[282.7, 232.7], [318.3, 230.1], [305.7, 251.2], [285.4, 265.6], [320.7, 263.2]]
)
