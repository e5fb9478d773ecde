"""The default pack against dlib's own results (written by make_dlib_fixtures.py), and its life on disk."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data as skimage_data

from facerec.engine.alignment.dlib_chip import DlibChipAligner
from facerec.engine.base import Pixels, Session
from facerec.engine.detection.mmod import MmodDetector, score
from facerec.engine.landmarks import ShapePredictor, load_forest
from facerec.engine.packs import dlib
from facerec.engine.packs.manifest import read_manifest
from facerec.engine.recognition import OnnxRecognizer
from facerec.engine.runtime.activation_ranges import find_ranges
from facerec.engine.runtime.pixel_input import PixelInput
from facerec.engine.runtime.session import open_session
from int8_products import needs_int8_products

CASES = json.loads((Path(__file__).parent / "fixtures" / "dlib_reference.json").read_text())


@dataclass(frozen=True)
class Parts:
    """The pack's parts in one runtime, the detector at the image's own size as dlib has it."""

    detector: MmodDetector
    predictor: ShapePredictor
    aligner: DlibChipAligner
    recognizer: OnnxRecognizer


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dlib.prepare(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module", params=["openvino", "onnxruntime"])
def parts(pack: Path, request: pytest.FixtureRequest) -> Parts:
    manifest = read_manifest(pack)
    assert manifest.landmarker is not None
    forest = load_forest(manifest.landmarker.file.read_bytes(), "landmarks.npz")
    detector = open_session(manifest.detector.file, runtime=request.param, threads=2)
    spec = manifest.recognizer
    pixels = PixelInput(spec.colour, spec.mean, spec.std)
    recognizer = open_session(spec.file, runtime=request.param, threads=2, pixels=pixels)
    return Parts(
        MmodDetector(detector, threshold=0.5, nms=manifest.detector.nms, sizes=(8192,), enlargement=1),
        ShapePredictor(forest),
        DlibChipAligner(),
        OnnxRecognizer(recognizer),
    )


def astronaut() -> Pixels:
    """scikit-image's portrait of Eileen Collins, by NASA and in the public domain: 512 x 512."""
    return np.asarray(skimage_data.astronaut(), np.uint8)  # type: ignore[no-untyped-call]  # is not annotated


def picture(case: dict[str, Any], request: pytest.FixtureRequest) -> Pixels:
    """The case's picture or part of it."""
    if case["image"] == "astronaut":
        image = astronaut()
    else:
        shared: Path = request.getfixturevalue("shared")
        image = np.asarray(Image.open(shared / "data" / case["image"]).convert("RGB"), np.uint8)
    if case["part"]:
        left, top, right, bottom = case["part"]
        image = np.ascontiguousarray(image[top:bottom, left:right])
    return image


def digest(chip: Pixels) -> NDArray[np.int64]:
    """Sixteen sums with random signs, as make_dlib_fixtures.py takes them."""
    random = np.random.default_rng(16)
    signs = random.integers(0, 2, (16, chip.size), dtype=np.int64) * 2 - 1
    sums: NDArray[np.int64] = signs @ chip.reshape(-1).astype(np.int64)
    return sums


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['image']}-{case['part']}-{case['detected']}")
def test_equals_dlib(case: dict[str, Any], parts: Parts, request: pytest.FixtureRequest) -> None:
    image = picture(case, request)
    faces = case["faces"]
    boxes = np.array([face["box"] for face in faces], np.float32)
    if case["detected"]:
        found = parts.detector.detect(image)
        np.testing.assert_array_equal(found.boxes, boxes)
        margins = [score(float(confidence)) for confidence in found.scores]
        np.testing.assert_allclose(margins, [face["score"] for face in faces], atol=4e-4)
    landmarks = parts.predictor.locate(image, boxes)
    np.testing.assert_array_equal(landmarks, [face["landmarks"] for face in faces])
    chips = parts.aligner.align(image, landmarks)
    for chip, face in zip(chips, faces, strict=True):
        # dlib and we differ by one grey level in one pixel of a thousand, where a sample is a whole number.
        assert np.abs(digest(chip) - face["chip"]).max() < 0.005 * chip.size
    embeddings = parts.recognizer.embed(chips)
    expected = np.array([face["embedding"] for face in faces])
    cosines = (embeddings * expected).sum(axis=1)
    cosines /= np.linalg.norm(embeddings, axis=1) * np.linalg.norm(expected, axis=1)
    assert cosines.min() > 0.9999


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_finds_all_faces_of_the_photographs(pack: Path, shared: Path, precision: str) -> None:
    """Every annotated nose lies in a face of its own: pictures of 0 to 8 people, up to 36 megapixels."""
    manifest = read_manifest(pack)
    known = find_ranges(manifest.detector.file)
    assert known is not None
    session = open_session(
        manifest.detector.file, runtime="auto", threads=2, precision=precision, ranges=known.ranges
    )
    detector = MmodDetector(session, threshold=0.5, nms=manifest.detector.nms, sizes=manifest.detector.sizes)
    lines = (shared / "data" / "photos" / "photos.csv").read_text().splitlines()[1:]
    assert len(lines) == 18
    for line in lines:
        name, _, count, noses = line.split(",", 3)
        image = np.asarray(Image.open(shared / "data" / "photos" / name).convert("RGB"), np.uint8)
        boxes = detector.detect(image).boxes
        assert len(boxes) == int(count), name
        points = np.array([nose.split(",") for nose in noses.strip('"').split()], np.float32).reshape(
            -1, 1, 2
        )
        inside = ((points >= boxes[:, :2]) & (points <= boxes[:, 2:])).all(axis=2)
        assert (inside.sum(axis=0) == 1).all(), name
        assert (inside.sum(axis=1) == 1).all(), name


@pytest.fixture(scope="module", params=["openvino", "onnxruntime"])
def int8_sessions(pack: Path, request: pytest.FixtureRequest) -> tuple[Session, Session]:
    """Detector and recogniser in int8, with the ranges that come with facerec."""
    manifest = read_manifest(pack)
    sessions = []
    for file, pixels in (
        (manifest.detector.file, None),
        (manifest.recognizer.file, PixelInput("rgb", mean=0, std=1)),
    ):
        known = find_ranges(file)
        assert known is not None, f"no ranges come with facerec for {file.name} as it is built"
        session = open_session(
            file, runtime=request.param, threads=2, pixels=pixels, precision="int8", ranges=known.ranges
        )
        sessions.append(session)
    return sessions[0], sessions[1]


@needs_int8_products
def test_int8_sees_what_f32_sees(
    int8_sessions: tuple[Session, Session], parts: Parts, pack: Path, request: pytest.FixtureRequest
) -> None:
    """The same faces, within the step of a window, and nearly the same embeddings of the same crops."""
    manifest = read_manifest(pack)
    detector = MmodDetector(
        int8_sessions[0], threshold=0.5, nms=manifest.detector.nms, sizes=(8192,), enlargement=1
    )
    recognizer = OnnxRecognizer(int8_sessions[1])
    for case in CASES:
        if case["image"] != "astronaut":
            continue
        image = picture(case, request)
        if case["detected"]:
            before, after = parts.detector.detect(image).boxes, detector.detect(image).boxes
            assert len(before) == len(after)
            centres = [(boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in (before, after)]
            side = (before[:, 2] - before[:, 0]).min()
            assert np.abs(centres[0] - centres[1]).max() < 0.2 * side
        landmarks = np.array([face["landmarks"] for face in case["faces"]], np.float32)
        chips = parts.aligner.align(image, landmarks)
        f32, int8 = parts.recognizer.embed(chips), recognizer.embed(chips)
        cosines = (f32 * int8).sum(axis=1) / np.linalg.norm(f32, axis=1) / np.linalg.norm(int8, axis=1)
        assert cosines.min() > 0.998


def test_many_faces_at_once_are_the_same_as_one_by_one(parts: Parts) -> None:
    image = astronaut()
    boxes = np.array(
        [[168, 69, 263, 164], [150, 60, 270, 180], [0, 0, 90, 90], [180, 80, 260, 160]], np.float32
    )
    together = parts.predictor.locate(image, boxes)
    apart = np.concatenate([parts.predictor.locate(image, box[None]) for box in boxes])
    np.testing.assert_array_equal(together, apart)
    chips = parts.aligner.align(image, together)
    single = np.concatenate([parts.recognizer.embed(chip[None]) for chip in chips])
    np.testing.assert_allclose(parts.recognizer.embed(chips), single, atol=1e-5)
    assert parts.predictor.locate(image, boxes[:0]).shape == (0, 5, 2)
    assert parts.aligner.align(image, together[:0]).shape == (0, 150, 150, 3)


def test_every_machine_builds_the_same_networks(pack: Path) -> None:
    """Embeddings of two machines are comparable only if their contracts, and so the digests, are the same."""
    digests = {
        name: hashlib.sha256((pack / name).read_bytes()).hexdigest()
        for name in ("recognizer.onnx", "detector.onnx")
    }
    assert digests == {
        "recognizer.onnx": "7ee3d8e31a73c906e755ce69e05bd18d7054727324edbac42a2c5e335760d07b",
        "detector.onnx": "020cd99371bdc8f6f10eb519f5877df005898693e89cb8118c45994b0db5f62f",
    }


def test_a_whole_pack_is_not_built_again(tmp_path: Path) -> None:
    folder = dlib.prepare(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert dlib.prepare(tmp_path) == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert sorted(before) == ["detector.onnx", "landmarks.npz", "pack.toml", "recognizer.onnx"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("recognizer.onnx", "changed"),
        ("detector.onnx", "gone"),
        ("landmarks.npz", "cut"),
        ("pack.toml", "gone"),
        ("pack.toml", "changed"),
    ],
)
def test_a_damaged_pack_is_built_again(pack: Path, tmp_path: Path, name: str, damage: str) -> None:
    folder = tmp_path / "dlib"
    folder.mkdir()
    for path in pack.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    victim = folder / name
    content = victim.read_bytes()
    if damage == "gone":
        victim.unlink()
    else:
        middle = len(content) // 2
        victim.write_bytes(
            content[:middle] if damage == "cut" else content[:middle] + b"?" + content[middle + 1 :]
        )
    assert dlib.prepare(tmp_path) == folder
    assert victim.read_bytes() == content
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in pack.iterdir())


@pytest.mark.slow
def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "dlib"
    folder.mkdir()
    old, new = folder / ".recognizer.onnx.old", folder / ".detector.onnx.new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    dlib.prepare(tmp_path)
    assert not old.exists()
    assert new.exists()  # another process may be writing it


@pytest.mark.slow
def test_several_processes_build_at_once(pack: Path, tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from facerec.engine.packs import dlib; dlib.prepare(pathlib.Path(sys.argv[1]))"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)]) for _ in range(3)]
    assert [process.wait(120) for process in running] == [0, 0, 0]
    for path in pack.iterdir():
        assert (tmp_path / "dlib" / path.name).read_bytes() == path.read_bytes()
