"""The default pack: dlib's networks, in the public domain, from the package `face_recognition_models`.

The pack is built once and kept in a cache folder. It depends on nothing but the package's files: two machines
build the same bytes, so that their embeddings are of one contract.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import logging
import time
from pathlib import Path

from facerec.engine.landmarks import dump_forest
from facerec.engine.packs.dlib_format import Network, read_network, read_shape_predictor
from facerec.engine.packs.dlib_onnx import detector_to_onnx, recognizer_to_onnx
from facerec.engine.whole_file import put_file
from facerec.errors import PackError

_PACKAGE = "face_recognition_models"
_RECOGNIZER = "dlib_face_recognition_resnet_model_v1.dat"
_DETECTOR = "mmod_human_face_detector.dat"
_PREDICTOR = "shape_predictor_5_face_landmarks.dat"
_SOURCES = {
    _RECOGNIZER: "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    _DETECTOR: "4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6",
    _PREDICTOR: "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
}
"""SHA-256 of the package's files (version 0.3.0; they are dlib's own and have not changed since 2017)."""
_FOLDER = "dlib"
_BUILT = ("recognizer.onnx", "detector.onnx", "landmarks.npz")
_MANIFEST = "pack.toml"
_STALE_SECONDS = 3600
# The build number goes up with every change of what is built, so that packs of older versions are replaced.
_TEMPLATE = """\
# Build 2, by facerec from face_recognition_models 0.3.0; made again whenever a file is not as written here.
[pack]
name = "dlib"
model_version = "1.0"
licence = "CC0-1.0"
licence_url = "https://github.com/davisking/dlib-models"
commercial_use = true

[detector]
kind = "mmod"
file = "detector.onnx"
sha256 = "{detector.onnx}"
threshold = 0.5
nms = 0.3382761351109955
sizes = [640, 1920]

[landmarker]
kind = "dlib_shape_predictor"
file = "landmarks.npz"
sha256 = "{landmarks.npz}"

[alignment]
kind = "dlib"
size = 150

[recognizer]
kind = "onnx"
file = "recognizer.onnx"
sha256 = "{recognizer.onnx}"
colour = "rgb"
mean = 0.0
std = 1.0

[calibration]
knots = [
    [-1.0, 0.0], [0.8399, 5.0], [0.8823, 20.0], [0.9104, 50.0], [0.9282, 80.0],
    [0.9419, 95.0], [0.9520, 99.0], [0.976, 99.9], [1.0, 100.0],
]
source = "1250180 pairs of different people of LFW folds 1 and 2 (benchmarks/accuracy/dlib_calibration.py)"
"""

_logger = logging.getLogger(__name__)


def prepare(cache_folder: Path) -> Path:
    """The folder of the default pack, with its `pack.toml`; built in the cache folder where need be.

    Every built file is checked at each call. Files are put in place one by one, each at once and whole, and
    are the same whoever builds them: several processes may do this together, and one that is killed leaves
    nothing wrong.

    Raises PackError when the package is not installed or its files are not those of version 0.3.0, or when
    the cache folder can not be written.
    """
    folder = cache_folder / _FOLDER
    if _is_whole(folder):
        return folder
    _logger.info("building the model pack dlib in %s", folder)
    files = _build()
    manifest = _manifest({name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        for name, content in files.items():
            put_file(folder / name, content)
        put_file(folder / _MANIFEST, manifest.encode())
    except OSError as error:
        raise PackError(
            f"the model pack can not be written to {folder}: {error.strerror or error}"
        ) from error
    return folder


def _remove_leftovers(folder: Path) -> None:
    """Remove half-written files of processes that were killed; those of the last hour may be at work."""
    for name in (*_BUILT, _MANIFEST):
        for path in folder.glob(f".{name}.*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()


def _is_whole(folder: Path) -> bool:
    """Whether the manifest on disk is the one that this version writes for the files on disk."""
    try:
        digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in _BUILT}
        return (folder / _MANIFEST).read_bytes() == _manifest(digests).encode()
    except OSError:
        return False


def _manifest(digests: dict[str, str]) -> str:
    """The text of `pack.toml` for files with these digests."""
    text = _TEMPLATE
    for name in _BUILT:
        text = text.replace(f"{{{name}}}", digests[name])
    return text


def recognition_network() -> Network:
    """dlib's recognition network, as the package has it. Raises PackError as `prepare` does."""
    return read_network(_source(_RECOGNIZER), _RECOGNIZER)


def _build() -> dict[str, bytes]:
    """The pack's files by name.

    Averaging with the mirror image doubles the time of an embedding and pays: on LFW's folds 1 and 2 the
    accuracy is 99.1 % instead of 98.75 %, and TAR 99.2 % instead of 98.7 % at FAR 1 %
    (benchmarks/accuracy/dlib_calibration.py).
    """
    detector = read_network(_source(_DETECTOR), _DETECTOR)
    forest = read_shape_predictor(_source(_PREDICTOR), _PREDICTOR)
    contents = (
        recognizer_to_onnx(recognition_network(), mirrored=True),
        detector_to_onnx(detector),
        dump_forest(forest),
    )
    return dict(zip(_BUILT, contents, strict=True))


def _source(name: str) -> bytes:
    """A file of the package, verified.

    The package is found and not imported: importing it needs pkg_resources, which setuptools no longer has.
    """
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise PackError(f"the package {_PACKAGE} is not installed: pip install {_PACKAGE}==0.3.0")
    path = Path(package.submodule_search_locations[0]) / "models" / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PackError(f"{path} can not be read: {error.strerror or error}") from error
    if hashlib.sha256(content).hexdigest() != _SOURCES[name]:
        raise PackError(
            f"{path} is not the file of {_PACKAGE} 0.3.0: pip install --force-reinstall {_PACKAGE}==0.3.0"
        )
    return content
