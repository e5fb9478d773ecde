"""The Python package insightface, given the networks of a model pack of ours."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facerec.cli.bench.peers import Peer
from facerec.config import Settings
from facerec.engine.packs.loading import FAKE, find_pack, pack_manifest
from facerec.errors import ConfigurationError, InvalidImage, PackError

CANVAS = (640, 640)
"""Width and height at which its detector looks at every picture: what its documentation prepares it with."""


@contextlib.contextmanager
def open_insightface(settings: Settings) -> Iterator[Peer]:
    """insightface's FaceAnalysis on the processor, with the detector and recogniser of the settings' pack.

    It takes a folder of ONNX files and tells from their shapes what each is for. Raises ConfigurationError
    where the package is missing, PackError for a pack whose networks are not of its kind.
    """
    face_analysis = _import()
    if settings.model_path == FAKE:
        raise PackError("the pack fake has no networks; insightface needs a pack with SCRFD and ArcFace ones")
    manifest = pack_manifest(find_pack(settings))
    if manifest.detector.kind != "scrfd" or manifest.alignment.kind != "arcface":
        raise PackError(
            f"insightface can not run the pack {manifest.name}: it takes a detector of kind scrfd and faces "
            f"aligned as arcface, not {manifest.detector.kind} and {manifest.alignment.kind}"
        )
    with tempfile.TemporaryDirectory(prefix="facerec-bench-") as root:
        folder = Path(root, "models", "pack")
        folder.mkdir(parents=True)
        for name, file in (("det", manifest.detector.file), ("rec", manifest.recognizer.file)):
            (folder / f"{name}.onnx").symlink_to(file.resolve())
        application = face_analysis(
            name="pack",
            root=root,
            allowed_modules=["detection", "recognition"],
            providers=["CPUExecutionProvider"],
        )
        if set(application.models) != {"detection", "recognition"}:
            raise PackError(
                f"insightface finds {', '.join(application.models)} in the pack {manifest.name}; "
                "it should find detection and recognition"
            )
        application.prepare(ctx_id=-1, det_thresh=manifest.detector.threshold, det_size=CANVAS)
        yield Peer(f"insightface {importlib.metadata.version('insightface')}", _counter(application))


def _counter(application: Any) -> Callable[[bytes], int]:
    def count_faces(data: bytes) -> int:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            raise InvalidImage("OpenCV, with which insightface reads pictures, can not read it")
        return len(application.get(pixels))

    return count_faces


def _import() -> Any:
    """The class FaceAnalysis, imported with what reports home turned off."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    try:
        return importlib.import_module("insightface.app").FaceAnalysis
    except ImportError as error:
        raise ConfigurationError(
            f"insightface can not be imported ({error}); `make bench` installs it, or: "
            "pip install insightface onnxruntime"
        ) from error
