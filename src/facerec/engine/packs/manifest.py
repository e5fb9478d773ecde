"""What a model pack says of itself: the values of its `pack.toml`, read strictly.

A key that is misspelt, missing or out of range is an error that names the file, the key and what is accepted.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from facerec.domain import EmbeddingContract
from facerec.engine.calibration import Knots
from facerec.errors import PackError

FILE_NAME = "pack.toml"
_LARGE_FILE = 16 * 2**20


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """The face detector. `threshold` and `nms` are 0..1; `sizes` are longer sides of its canvas in pixels."""

    kind: str
    file: Path
    digest: str
    """SHA-256 of the file, lower case hex."""
    threshold: float
    nms: float
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LandmarkerSpec:
    """What places landmarks, for a detector that gives boxes only."""

    kind: str
    file: Path


@dataclass(frozen=True, slots=True)
class AlignmentSpec:
    """How the recogniser's crops are cut; `size` is a crop's side in pixels."""

    kind: str
    size: int


@dataclass(frozen=True, slots=True)
class RecognizerSpec:
    """The recogniser and its input: channels in `colour` order, each (value - mean) / std of 0..255."""

    kind: str
    file: Path
    digest: str
    """SHA-256 of the file, lower case hex."""
    colour: str
    mean: float
    std: float
    centre: Path | None
    """A .npy file of the float32 vector that is subtracted from embeddings before they are normalised."""


@dataclass(frozen=True, slots=True)
class AttributeSpec:
    """A network that judges attributes of faces."""

    kind: str
    file: Path


@dataclass(frozen=True, slots=True)
class QualitySpec:
    """A network that scores how well a picture of a face serves recognition."""

    kind: str
    file: Path


@dataclass(frozen=True, slots=True)
class LivenessSpec:
    """A network that tells live faces from prints and screens; a face's box is grown `scale` times for it."""

    kind: str
    file: Path
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PackManifest:
    """A model pack, every file of it present."""

    name: str
    model_version: str
    """What clients see as FaceModelVersion: digits and dots."""
    licence: str
    licence_url: str
    commercial_use: bool | None
    """None where the pack does not say."""
    detector: DetectorSpec
    landmarker: LandmarkerSpec | None
    alignment: AlignmentSpec
    recognizer: RecognizerSpec
    attributes: tuple[AttributeSpec, ...]
    calibration: Knots
    calibration_source: str
    """How the calibration came about; begins with "estimated" where it was not measured."""
    quality: QualitySpec | None = None
    liveness: tuple[LivenessSpec, ...] = ()
    """The mean of what these networks say counts; none where the pack does not judge liveness."""

    def contract(self, dimension: int) -> EmbeddingContract:
        """The contract of this pack's embeddings of `dimension` numbers.

        Its id is the SHA-256 of all that an embedding depends on once the landmarks are known: the
        recogniser's weights, its input, the alignment, the centre and the dimension. The detector is left
        out: another one frames the same faces.
        """
        recognizer = self.recognizer
        parts = {
            "alignment": asdict(self.alignment),
            "centre": sha256(recognizer.centre) if recognizer.centre else None,
            "colour": recognizer.colour,
            "dimension": dimension,
            "mean": recognizer.mean,
            "recognizer": recognizer.digest,
            "std": recognizer.std,
        }
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return EmbeddingContract(
            id=digest, pack=self.name, model_version=self.model_version, dimension=dimension
        )


def read_manifest(folder: Path) -> PackManifest:
    """Read a folder's `pack.toml`, and check that its files are there and have the digests it states.

    Raises PackError that names the file and key, and says what is accepted.
    """
    return _pack(_read(folder / FILE_NAME), folder)


def read_liveness(path: Path) -> tuple[LivenessSpec, ...]:
    """Read a file of tables [[liveness]] that lies beside a pack's networks. Raises as `read_manifest`."""
    root = _read(path)
    found = tuple(_liveness(table, path.parent) for table in root.tables("liveness"))
    root.close()
    return found


def sha256(path: Path) -> str:
    """SHA-256 of a file, lower case hex; of a large one it is remembered as long as nobody writes to it."""
    now = path.stat()
    if now.st_size < _LARGE_FILE:
        return _digest(path)
    return _digest_while(path, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@cache
def _digest_while(path: Path, *_state: int) -> str:
    """The digest of a file in a state."""
    return _digest(path)


def _read(path: Path) -> _Table:
    """A file's root table."""
    try:
        with path.open("rb") as stream:
            document = tomllib.load(stream)
    except OSError as error:
        raise PackError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PackError(f"{path} is not TOML: {error}") from error
    return _Table(document, path, "")


class _Table:
    """One table of the file, whose keys are taken one by one; what is left over at the end is an error."""

    def __init__(self, values: dict[str, Any], path: Path, name: str) -> None:
        self._values = dict(values)
        self._path = path
        self._name = name
        self._known: list[str] = []

    def error(self, key: str, problem: str) -> PackError:
        """The error for a key of this table."""
        return PackError(f"{self._path}: {self._name}{key} {problem}")

    def _take(self, key: str, kind: type | tuple[type, ...], accepted: str, default: Any = ...) -> Any:
        """The value of a key; without a default it has to be there. A bool is no number."""
        self._known.append(key)
        if key not in self._values:
            if default is ...:
                raise self.error(key, f"is missing; expected {accepted}")
            return default
        value = self._values.pop(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(key, f"is {value!r}; expected {accepted}")
        return value

    def text(self, key: str, accepted: str = "a text", default: str | None = None) -> str:
        """A string."""
        return str(self._take(key, str, accepted, ... if default is None else default))

    def matching(self, key: str, pattern: str, accepted: str) -> str:
        """A string that matches a regular expression as a whole."""
        value = self.text(key, accepted)
        if not re.fullmatch(pattern, value):
            raise self.error(key, f"is {value!r}; expected {accepted}")
        return value

    def choice(self, key: str, *choices: str) -> str:
        """One of several strings."""
        accepted = "one of " + ", ".join(choices)
        value = self.text(key, accepted)
        if value not in choices:
            raise self.error(key, f"is {value!r}; expected {accepted}")
        return value

    def flag(self, key: str) -> bool | None:
        """True, false, or None where the key is missing."""
        value = self._take(key, bool, "true or false", None)
        return None if value is None else bool(value)

    def number(self, key: str, low: float, high: float, *, above_low: bool = False) -> float:
        """A number low..high; with `above_low`, low itself is too little."""
        accepted = f"a number {'above' if above_low else 'from'} {low:g} to {high:g}"
        value = float(self._take(key, (int, float), accepted))
        if not low <= value <= high or (above_low and value == low):
            raise self.error(key, f"is {value:g}; expected {accepted}")
        return value

    def sizes(self, key: str) -> tuple[int, ...]:
        """A list of positive whole numbers."""
        accepted = "a list of sides in pixels, as [640, 160]"
        values = self._take(key, list, accepted)
        if not values or any(type(value) is not int or not 32 <= value <= 8192 for value in values):
            raise self.error(key, f"is {values!r}; expected {accepted}, each 32 to 8192")
        return tuple(values)

    def knots(self, key: str) -> Knots:
        """A calibration curve."""
        accepted = "a list of [cosine, similarity] pairs"
        values = self._take(key, list, accepted)
        try:
            points = tuple((float(cosine), float(similarity)) for cosine, similarity in values)
        except (TypeError, ValueError) as error:
            raise self.error(key, f"is {values!r}; expected {accepted}") from error
        try:
            return Knots(points)
        except PackError as error:
            raise self.error(key, f"is not accepted: {error.message}") from error

    def table(self, key: str) -> _Table:
        """A table inside this one."""
        return _Table(self._take(key, dict, f"a table [{key}]"), self._path, f"[{key}] ")

    def optional_table(self, key: str) -> _Table | None:
        """A table inside this one, or None."""
        if key in self._values:
            return self.table(key)
        self._known.append(key)
        return None

    def tables(self, key: str) -> list[_Table]:
        """An array of tables inside this one; none where the key is missing."""
        values = self._take(key, list, f"tables [[{key}]]", [])
        if any(not isinstance(value, dict) for value in values):
            raise self.error(key, f"is {values!r}; expected tables [[{key}]]")
        return [_Table(value, self._path, f"[[{key}]] ") for value in values]

    def file(self, key: str, folder: Path) -> Path:
        """A file of the pack, by its name in the folder; a symbolic link is followed."""
        return _file_in(folder, self.text(key, "the name of a file in the pack's folder"), self, key)

    def digest(self, path: Path) -> str | None:
        """The stated digest (key sha256) of a file, verified; None where the table states none."""
        stated = self.text("sha256", "64 hexadecimal digits", "")
        if not stated:
            return None
        actual = sha256(path)
        if actual != stated.lower():
            raise self.error("sha256", f"is {stated}, but {path.name} has {actual}: the file is another one")
        return actual

    def close(self) -> None:
        """Refuse keys that nobody took."""
        for key in self._values:
            raise self.error(key, f"is not known; accepted are {', '.join(self._known)}")


def _file_in(folder: Path, name: str, table: _Table, key: str) -> Path:
    """The path of a named file, which has to exist and whose name must not lead out of the folder."""
    parts = PurePosixPath(name).parts
    if not name or "\\" in name or PurePosixPath(name).is_absolute() or ".." in parts or ":" in name:
        raise table.error(key, f"is {name!r}; expected the name of a file inside the pack's folder")
    path = folder.joinpath(*parts)
    if not path.is_file():
        raise table.error(key, f"names {name}, which is not in {folder}")
    return path


def _pack(root: _Table, folder: Path) -> PackManifest:
    """All tables of the file."""
    pack = root.table("pack")
    name = pack.matching("name", r"[A-Za-z0-9_.\-]{1,64}", "1 to 64 letters, digits, '_', '.' and '-'")
    model_version = pack.matching("model_version", r"\d+(\.\d+)*", "digits and dots, as 2.1")
    licence = pack.text("licence", default="not stated")
    licence_url = pack.text("licence_url", default="")
    commercial_use = pack.flag("commercial_use")
    pack.close()
    calibration = root.table("calibration")
    knots = calibration.knots("knots")
    source = calibration.text("source", "how the knots were found, or 'estimated: ...'")
    calibration.close()
    landmarker = root.optional_table("landmarker")
    quality = root.optional_table("quality")
    manifest = PackManifest(
        name=name,
        model_version=model_version,
        licence=licence,
        licence_url=licence_url,
        commercial_use=commercial_use,
        detector=_detector(root.table("detector"), folder),
        landmarker=_landmarker(landmarker, folder) if landmarker else None,
        alignment=_alignment(root.table("alignment")),
        recognizer=_recognizer(root.table("recognizer"), folder),
        attributes=tuple(_attribute(table, folder) for table in root.tables("attributes")),
        calibration=knots,
        calibration_source=source,
        quality=_quality(quality, folder) if quality else None,
        liveness=tuple(_liveness(table, folder) for table in root.tables("liveness")),
    )
    root.close()
    _check_layout(manifest, root)
    return manifest


def _check_layout(manifest: PackManifest, root: _Table) -> None:
    """Landmarks have to come from somewhere, and in the layout that the alignment takes."""
    from_dlib = manifest.detector.kind == "mmod"
    if from_dlib and manifest.landmarker is None:
        raise root.error("[landmarker]", "is missing; the detector mmod gives boxes without landmarks")
    if not from_dlib and manifest.landmarker is not None:
        raise root.error(
            "[landmarker]", f"is not accepted: the detector {manifest.detector.kind} gives landmarks itself"
        )
    if from_dlib and manifest.quality is not None:
        raise root.error(
            "[quality]", "is not accepted: a quality network takes the eyes, nose and mouth that mmod lacks"
        )
    fitting = "dlib" if from_dlib else "arcface"
    if manifest.alignment.kind != fitting:
        raise root.error(
            "[alignment] kind",
            f"is {manifest.alignment.kind!r}; the landmarks of {manifest.detector.kind} take {fitting!r}",
        )


def _detector(table: _Table, folder: Path) -> DetectorSpec:
    """Table [detector]."""
    file = table.file("file", folder)
    spec = DetectorSpec(
        kind=table.choice("kind", "scrfd", "yunet", "mmod"),
        file=file,
        digest=table.digest(file) or sha256(file),
        threshold=table.number("threshold", 0, 1),
        nms=table.number("nms", 0, 1),
        sizes=table.sizes("sizes"),
    )
    table.close()
    return spec


def _landmarker(table: _Table, folder: Path) -> LandmarkerSpec:
    """Table [landmarker]."""
    spec = LandmarkerSpec(kind=table.choice("kind", "dlib_shape_predictor"), file=table.file("file", folder))
    table.digest(spec.file)
    table.close()
    return spec


def _alignment(table: _Table) -> AlignmentSpec:
    """Table [alignment]."""
    spec = AlignmentSpec(
        kind=table.choice("kind", "arcface", "dlib"), size=int(table.number("size", 32, 1024))
    )
    table.close()
    return spec


def _recognizer(table: _Table, folder: Path) -> RecognizerSpec:
    """Table [recognizer]."""
    file = table.file("file", folder)
    centre = table.text("centre", default="")
    spec = RecognizerSpec(
        kind=table.choice("kind", "onnx"),
        file=file,
        digest=table.digest(file) or sha256(file),
        colour=table.choice("colour", "rgb", "bgr"),
        mean=table.number("mean", -1000, 1000),
        std=table.number("std", 0, 1000, above_low=True),
        centre=_file_in(folder, centre, table, "centre") if centre else None,
    )
    table.close()
    return spec


def _attribute(table: _Table, folder: Path) -> AttributeSpec:
    """One table [[attributes]]."""
    spec = AttributeSpec(
        kind=table.choice("kind", "genderage", "2d106", "1k3d68"), file=table.file("file", folder)
    )
    table.digest(spec.file)
    table.close()
    return spec


def _quality(table: _Table, folder: Path) -> QualitySpec:
    """Table [quality]."""
    spec = QualitySpec(kind=table.choice("kind", "ediffiqa"), file=table.file("file", folder))
    table.digest(spec.file)
    table.close()
    return spec


def _liveness(table: _Table, folder: Path) -> LivenessSpec:
    """One table [[liveness]]."""
    spec = LivenessSpec(
        kind=table.choice("kind", "minifasnet"),
        file=table.file("file", folder),
        scale=table.number("scale", 1, 10),
    )
    table.digest(spec.file)
    table.close()
    return spec
