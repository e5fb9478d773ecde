"""From a setting to an engine: which folder a pack lies in, and which classes its manifest calls for."""

from __future__ import annotations

import contextlib
import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from facerec.config import Settings
from facerec.engine.alignment.arcface import ArcFaceAligner
from facerec.engine.alignment.dlib_chip import DlibChipAligner
from facerec.engine.attributes import Landmarks68, Landmarks106, open_attribute_model
from facerec.engine.base import Aligner, AttributeModel, DenseLandmarker, Detector, Engine, Floats, Landmarker
from facerec.engine.detection import scrfd, yunet
from facerec.engine.detection.mmod import MmodDetector
from facerec.engine.detection.scrfd import ScrfdDetector
from facerec.engine.detection.yunet import YunetDetector
from facerec.engine.fake import FakeEngine
from facerec.engine.landmarks import ShapePredictor, load_forest
from facerec.engine.liveness import open_liveness_model
from facerec.engine.packs import additions, dlib
from facerec.engine.packs.bare_folder import NEEDED, infer_manifest
from facerec.engine.packs.manifest import (
    FILE_NAME,
    AlignmentSpec,
    DetectorSpec,
    LandmarkerSpec,
    PackManifest,
    RecognizerSpec,
    read_liveness,
    read_manifest,
)
from facerec.engine.packs.networks import (
    DETECTOR,
    RECOGNIZER,
    NetworkOpener,
    ServingNetworks,
)
from facerec.engine.packs.registry import BUILT_IN, KNOWN_PACKS
from facerec.engine.pipeline import Limits, PackEngine, Parts
from facerec.engine.quality_network import open_quality_network
from facerec.engine.recognition import OnnxRecognizer, batch_shape
from facerec.engine.runtime.compiled_forms import CompiledForms, Form
from facerec.engine.runtime.pixel_input import PixelInput
from facerec.engine.runtime.precision import NetworkUse
from facerec.engine.runtime.reshaping import InputShape, input_shape
from facerec.engine.runtime.session import OPENVINO, import_runtime, on_graphics_card
from facerec.errors import PackError

_DETECTOR_TRIAL = (1, 3, 320, 320)
FAKE = "fake"
"""Name of the engine without networks, for tests; fake@2.0 is another model of it."""


def open_engine(settings: Settings, networks: NetworkOpener | None = None) -> Engine:
    """The engine of the pack that `settings.model_path` names; `networks`: see `load_pack`.

    `dlib` is built in (and built once, under the packs folder), `fake` is the tests' engine; a name is a
    pulled pack; anything else is a folder. Raises PackError that says what is missing and how it is had.
    """
    if (version := _fake_version(settings)) is not None:
        return FakeEngine(
            model_version=version,
            max_pixels=settings.max_image_pixels,
            max_faces=settings.max_faces_per_image,
        )
    return load_pack(find_pack(settings), settings, networks)


def import_ahead(settings: Settings) -> None:
    """Import what the settings' networks are opened with, where that is OpenVINO, and know their digests.

    No card is asked for. What is wrong with the pack, those will tell that open it.
    """
    networks = _fake_version(settings) is None and settings.runtime in (OPENVINO, "auto")
    if networks and importlib.util.find_spec(OPENVINO) is not None:
        import_runtime(OPENVINO)
        with contextlib.suppress(PackError):
            pack_manifest(find_pack(settings))


def _fake_version(settings: Settings) -> str | None:
    """Model version of the tests' engine, where the settings name that."""
    name, _, version = settings.model_path.partition("@")
    return (version or "1.0") if name == FAKE else None


def find_pack(settings: Settings) -> Path:
    """Folder of the pack that `settings.model_path` names. Raises PackError as `open_engine` does."""
    name = settings.model_path
    if name == BUILT_IN:
        return dlib.prepare(settings.packs_folder)
    pulled = settings.packs_folder / name
    if name == Path(name).name and pulled.is_dir():
        return pulled
    if any(pack.name == name for pack in KNOWN_PACKS):
        raise PackError(f"the model pack {name} is not there yet: facerec packs pull {name}")
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise PackError(f"there is no model pack or folder {name}; {NEEDED}")
    return folder


def pack_manifest(folder: Path) -> PackManifest:
    """What the pack in a folder is made of, stated or inferred, with what was added to it.

    Raises PackError for a folder that is no pack.
    """
    manifest = read_manifest(folder) if (folder / FILE_NAME).exists() else infer_manifest(folder)
    addition = folder / additions.FILE_NAME
    return replace(manifest, liveness=read_liveness(addition)) if addition.exists() else manifest


def contract_id(settings: Settings, dimension: int) -> str:
    """Id that the embedding contract of the settings' pack has if its embeddings have that dimension.

    No network is loaded. Raises PackError as `open_engine` does.
    """
    if (version := _fake_version(settings)) is not None:
        return FakeEngine(model_version=version).contract.id
    return pack_manifest(find_pack(settings)).contract(dimension).id


def load_pack(folder: Path, settings: Settings, networks: NetworkOpener | None = None) -> Engine:
    """The engine of the pack in a folder, with the settings' runtime, threads, limits and overrides.

    networks: opens the networks; by default in the precision that the settings ask for.

    Raises PackError for a folder that is no pack, and for networks that cannot be loaded or do not fit;
    ConfigurationError when a network's activation ranges are not known and the settings ask for int8.
    """
    manifest = pack_manifest(folder)
    parts = load_parts(_overridden(manifest, settings), settings, networks or ServingNetworks(settings))
    limits = Limits(
        max_pixels=settings.max_image_pixels,
        max_faces=settings.max_faces_per_image,
        max_batch=settings.max_batch,
        max_queue=settings.max_queue,
        max_decoded_bytes=settings.decoded_bytes,
        workers=settings.threads,
    )
    return PackEngine(parts, limits)


def _overridden(manifest: PackManifest, settings: Settings) -> PackManifest:
    """The manifest with what the settings say in its place; none of it touches the embedding contract."""
    detector = manifest.detector
    if settings.detection_sizes is not None:
        detector = replace(detector, sizes=settings.detection_sizes)
    if settings.min_face_confidence is not None:
        detector = replace(detector, threshold=settings.min_face_confidence)
    return replace(manifest, detector=detector)


def load_parts(manifest: PackManifest, settings: Settings, networks: NetworkOpener) -> Parts:
    """What the pack's engine is made of, its networks loaded. Raises as `load_pack` does."""
    on_card = on_graphics_card(settings.runtime)
    forms = CompiledForms(settings.compiled_folder, manifest.recognizer.digest)
    declared = _declared_shape(manifest.recognizer.file, forms)
    batch = None if on_card else 1
    recognizer = _recognizer(manifest.recognizer, declared, manifest.alignment.size, batch, networks)
    attribute_models, dense = _attribute_models(manifest, settings)
    centre = _centre(manifest.recognizer.centre, recognizer.dimension)
    return Parts(
        contract=manifest.contract(recognizer.dimension),
        calibration=manifest.calibration,
        detector=_detector(manifest.detector, networks),
        detection_side=max(manifest.detector.sizes),
        landmarker=_landmarker(manifest.landmarker) if manifest.landmarker else None,
        aligner=_aligner(manifest.alignment),
        recognizer=recognizer,
        centre=centre,
        shares_runs=on_card,
        attribute_models=attribute_models,
        dense_landmarker=dense,
        quality_model=(
            open_quality_network(
                manifest.quality.file,
                runtime=settings.runtime,
                threads=1,
                compiled=settings.compiled_folder,
            )
            if manifest.quality
            else None
        ),
        liveness_model=(
            open_liveness_model(
                [(spec.file, spec.scale) for spec in manifest.liveness],
                runtime=settings.runtime,
                threads=1,
                compiled=settings.compiled_folder,
            )
            if manifest.liveness
            else None
        ),
    )


def _detector(spec: DetectorSpec, networks: NetworkOpener) -> Detector:
    """The detector of the manifest's kind."""
    pixels = {"scrfd": scrfd.PIXELS, "yunet": yunet.PIXELS}.get(spec.kind)
    use = NetworkUse(
        role=DETECTOR,
        file=spec.file,
        digest=spec.digest,
        pixels=pixels,
        input_shape=None if spec.kind == "mmod" else scrfd.INPUT_SHAPE,
        trial=_DETECTOR_TRIAL,
    )
    session = networks.open(use)
    if spec.kind == "mmod":
        return MmodDetector(session, threshold=spec.threshold, nms=spec.nms, sizes=spec.sizes)
    if spec.kind == "yunet":
        return YunetDetector(session, threshold=spec.threshold, nms=spec.nms, sizes=spec.sizes)
    return ScrfdDetector(session, threshold=spec.threshold, nms=spec.nms, sizes=spec.sizes)


def _landmarker(spec: LandmarkerSpec) -> Landmarker:
    """The landmarker of the manifest's kind."""
    return ShapePredictor(load_forest(spec.file.read_bytes(), str(spec.file)))


def _aligner(spec: AlignmentSpec) -> Aligner:
    """The aligner of the manifest's kind."""
    return ArcFaceAligner(spec.size) if spec.kind == "arcface" else DlibChipAligner(spec.size)


def _recognizer(
    spec: RecognizerSpec, declared: InputShape, size: int, batch: int | None, networks: NetworkOpener
) -> OnnxRecognizer:
    """The recogniser for crops of `size` pixels, `batch` (any number if None) in a run where its network
    can; `declared`: the shape that its file declares."""
    if len(declared) != 4 or any(side not in (size, None) for side in declared[2:]):
        raise PackError(
            f"{spec.file} takes inputs of shape {declared}, but the pack's alignment cuts crops of "
            f"{size} x {size}"
        )
    use = NetworkUse(
        role=RECOGNIZER,
        file=spec.file,
        digest=spec.digest,
        pixels=PixelInput(spec.colour, mean=spec.mean, std=spec.std),
        input_shape=batch_shape(size, batch),
        trial=(batch or 1, 3, size, size),
    )
    try:
        return OnnxRecognizer(networks.open(use))
    except PackError:
        # A network whose graph fixes the batch still runs: one batch of that length after the other.
        as_declared = replace(use, input_shape=None, trial=(declared[0] or 1, 3, size, size))
        return OnnxRecognizer(networks.open(as_declared))


def _declared_shape(file: Path, forms: CompiledForms) -> InputShape:
    """Shape of a network's first input as its file declares it, which takes long to read of a large one."""
    kept = forms.read(what="declared shape")
    if kept is not None:
        return tuple(kept.about["shape"])
    try:
        shape = input_shape(onnx.load(file, load_external_data=False))
    except (DecodeError, OSError) as error:
        raise PackError(f"{file} is damaged or no ONNX file: {error}") from error
    except PackError as error:
        raise PackError(f"{file}: {error.message}") from error
    forms.write(Form({"shape": shape}, b""), what="declared shape")
    return shape


def _attribute_models(
    manifest: PackManifest, settings: Settings
) -> tuple[tuple[AttributeModel, ...], DenseLandmarker | None]:
    """The pack's attribute models and its dense landmarks. Of two networks of those, the first is opened."""
    models: list[AttributeModel] = []
    dense: DenseLandmarker | None = None
    for spec in manifest.attributes:
        places_points = spec.kind in ("2d106", "1k3d68")
        if places_points and dense is not None:
            continue
        model = open_attribute_model(
            spec.kind,
            spec.file,
            runtime=settings.runtime,
            threads=1,
            compiled=settings.compiled_folder,
        )
        if isinstance(model, Landmarks106 | Landmarks68):
            dense = model
        else:
            models.append(model)
    return tuple(models), dense


def _centre(path: Path | None, dimension: int) -> Floats | None:
    """The vector that is subtracted from embeddings."""
    if path is None:
        return None
    try:
        centre = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PackError(f"{path} is no .npy file that can be read: {error}") from error
    if centre.shape != (dimension,) or centre.dtype != np.float32 or not np.isfinite(centre).all():
        raise PackError(
            f"{path} holds {centre.dtype} of shape {centre.shape}; "
            f"expected {dimension} finite float32 numbers"
        )
    return np.asarray(centre, np.float32)
