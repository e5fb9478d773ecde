"""A folder of networks without `pack.toml`, as InsightFace lays its packs out: known by the networks'
shapes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from facerec.engine.calibration import Knots
from facerec.engine.packs.manifest import (
    FILE_NAME,
    AlignmentSpec,
    AttributeSpec,
    DetectorSpec,
    PackManifest,
    RecognizerSpec,
    sha256,
)
from facerec.errors import PackError

NEEDED = (
    f"a pack is a folder with a {FILE_NAME}, or with one SCRFD detector (det_*.onnx, scrfd*.onnx) and one "
    "recogniser of 112 x 112 crops (w600k*.onnx and the like)"
)
KNOTS = Knots(((-1.0, 0.0), (0.0, 5.0), (0.3, 80.0), (0.42, 99.0), (1.0, 100.0)))
"""Usual for the ArcFace family: a false match rate of 1e-3 near cosine 0.3, and 1e-5 near 0.42."""
SCRFD_NAME = re.compile(r"(det_|scrfd).*\.onnx", re.IGNORECASE)
ATTRIBUTE_FILES = {"genderage.onnx": "genderage", "2d106det.onnx": "2d106", "1k3d68.onnx": "1k3d68"}
CROP = 112


@dataclass(frozen=True, slots=True)
class _Recognizer:
    """A recogniser found in the folder; `normalises` when its graph subtracts and scales the input itself."""

    file: Path
    normalises: bool


def infer_manifest(folder: Path) -> PackManifest:
    """The manifest of a folder without one, its calibration estimated.

    Raises PackError that says what a pack needs and what was found.
    """
    files = sorted(path for path in folder.glob("*.onnx") if path.is_file())
    detector = _only("detector", [path for path in files if SCRFD_NAME.fullmatch(path.name)], folder)
    others = [path for path in files if path != detector and path.name not in ATTRIBUTE_FILES]
    found = [one for path in others if (one := _as_recognizer(path)) is not None]
    recognizer_file = _only("recogniser", [one.file for one in found], folder)
    recognizer = next(one for one in found if one.file == recognizer_file)
    digest = sha256(recognizer.file)
    return PackManifest(
        name=re.sub(r"[^A-Za-z0-9_.\-]", "_", folder.resolve().name)[:64] or "folder",
        # Digits that follow from the weights, so that two folders do not pass for one model.
        model_version=f"0.{int(digest[:6], 16)}",
        licence="not stated",
        licence_url="",
        commercial_use=None,
        detector=DetectorSpec("scrfd", detector, sha256(detector), threshold=0.5, nms=0.4, sizes=(640, 160)),
        landmarker=None,
        alignment=AlignmentSpec("arcface", CROP),
        recognizer=RecognizerSpec(
            kind="onnx",
            file=recognizer.file,
            digest=digest,
            colour="rgb",
            mean=0.0 if recognizer.normalises else 127.5,
            std=1.0 if recognizer.normalises else 127.5,
            centre=None,
        ),
        attributes=tuple(
            AttributeSpec(kind, folder / name)
            for name, kind in ATTRIBUTE_FILES.items()
            if (folder / name).is_file()
        ),
        calibration=KNOTS,
        calibration_source="estimated: usual for the ArcFace family; facerec eval measures it",
    )


def _only(what: str, paths: list[Path], folder: Path) -> Path:
    """The one path there is."""
    if len(paths) == 1:
        return paths[0]
    found = f"{len(paths)} ({', '.join(path.name for path in paths)})" if paths else "none"
    raise PackError(f"{folder} has no {FILE_NAME}, and as its {what} {found} will do: {NEEDED}")


def _as_recognizer(path: Path) -> _Recognizer | None:
    """The file as a recogniser: 112 x 112 RGB crops in, one vector out; None for any other network."""
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except (DecodeError, OSError) as error:
        raise PackError(f"{path} is damaged or no ONNX file: {error}") from error
    weights = {value.name for value in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1 or len(graph.output) != 1 or _shape(inputs[0])[1:] != [3, CROP, CROP]:
        return None
    output = _shape(graph.output[0])
    if len(output) != 2 or output[1] < 64:
        return None
    # As insightface tells: networks exported from MXNet begin by subtracting and multiplying.
    first = {node.op_type for node in list(graph.node)[:8]}
    return _Recognizer(path, normalises={"Sub", "Mul"} <= first)


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    """Dimensions of a network's input or output; 0 where they vary."""
    return [int(dimension.dim_value) for dimension in value.type.tensor_type.shape.dim]
