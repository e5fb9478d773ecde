"""The Python package face_recognition: dlib with the very networks of our default pack."""

from __future__ import annotations

import importlib
import importlib.metadata
import io
from typing import Any

from facerec.cli.bench.peers import Peer
from facerec.config import Settings
from facerec.engine.packs.registry import BUILT_IN
from facerec.errors import ConfigurationError, InvalidImage, PackError


def open_face_recognition(settings: Settings) -> Peer:
    """face_recognition with its CNN detector and the landmarks that our default pack aligns by.

    It embeds a face once, where our pack embeds the mirror image too. Raises ConfigurationError where the
    package is missing, PackError for another pack than the default.
    """
    if settings.model_path != BUILT_IN:
        raise PackError(
            f"face_recognition has dlib's networks, those of the pack {BUILT_IN}; "
            f"the pack is {settings.model_path}"
        )
    package = _import()

    def count_faces(data: bytes) -> int:
        try:
            pixels = package.load_image_file(io.BytesIO(data))
        except OSError as error:
            raise InvalidImage(
                f"Pillow, with which face_recognition reads pictures, can not: {error}"
            ) from error
        boxes = package.face_locations(pixels, model="cnn")
        return len(package.face_encodings(pixels, boxes, num_jitters=1, model="small"))

    versions = (importlib.metadata.version(name) for name in ("face_recognition", "dlib-bin"))
    return Peer("face_recognition {} (dlib {})".format(*versions), count_faces)


def _import() -> Any:
    try:
        return importlib.import_module("face_recognition")
    except (ImportError, SystemExit) as error:  # it quits where its networks are missing
        raise ConfigurationError(
            f"face_recognition can not be imported ({error}); `make bench` installs it, or: "
            "pip install dlib-bin face_recognition_models 'setuptools<81' && "
            "pip install --no-deps face_recognition"
        ) from error
