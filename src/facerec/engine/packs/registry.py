"""The packs that facerec knows by name: where their files lie upstream, what those must be, and their
licences.

Every file is pinned by its SHA-256 and size, so that a mirror, a proxy or a changed upstream file can hand
over nothing else. The digests are those that the upstream files have had since their release; several
independent projects pin the same ones.

The calibration of a pack in this file is an estimate from public figures (`KnownPack.calibration_source`
says which), because its weights cannot be shipped with the tests: `facerec eval PAIRS.csv --pack NAME
--calibrate` measures it.
"""

from __future__ import annotations

from dataclasses import dataclass

from facerec.errors import NotFound

BUILT_IN = "dlib"
"""The pack that installs with pip; see `facerec.engine.packs.dlib`."""

INSIGHTFACE = "https://github.com/deepinsight/insightface/releases/download/v0.7"
OPENCV_ZOO = "https://github.com/opencv/opencv_zoo/raw/main/models"


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """A file that must be exactly this one."""

    name: str
    sha256: str
    """Lower case hex."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Source:
    """One thing to download: a zip archive, or a file of the pack itself."""

    file: PinnedFile
    address: str
    archive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """What the publisher of the weights allows."""

    name: str
    address: str
    commercial_use: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network of a pack: its file, and the `kind` that the manifest names its post-processing by."""

    kind: str
    file: PinnedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPack:
    """A pack that can be pulled by name."""

    name: str
    summary: str
    model_version: str
    """What clients see as FaceModelVersion."""
    licence: Licence
    sources: tuple[Source, ...]
    detector: Network
    detector_threshold: float
    """Least score (0..1) of a face."""
    detector_nms: float
    """Greatest overlap (intersection over union) of two faces."""
    recognizer: Network
    colour: str
    """Order of the recogniser's input channels, "rgb" or "bgr"."""
    mean: float
    """Subtracted from each channel value 0..255."""
    std: float
    """What the difference is divided by."""
    attributes: tuple[Network, ...] = ()
    calibration: tuple[tuple[float, float], ...]
    """(cosine, similarity) knots; see `facerec.engine.calibration`."""
    calibration_source: str

    @property
    def files(self) -> tuple[PinnedFile, ...]:
        """Files that the pulled folder holds beside its manifest."""
        return (self.detector.file, self.recognizer.file, *(network.file for network in self.attributes))

    @property
    def download_size(self) -> int:
        """Bytes to fetch."""
        return sum(source.file.size for source in self.sources)


# --- upstream files ---------------------------------------------------------------------------------

DET_10G = PinnedFile(
    "det_10g.onnx", "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91", 16_923_827
)
DET_2_5G = PinnedFile(
    "det_2.5g.onnx", "041f73f47371333d1d17a6fee6c8ab4e6aecabefe398ff32cca4e2d5eaee0af9", 3_292_009
)
DET_500M = PinnedFile(
    "det_500m.onnx", "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a", 2_524_817
)
SCRFD_10G = PinnedFile("scrfd_10g_bnkps.onnx", DET_10G.sha256, DET_10G.size)
W600K_R50 = PinnedFile(
    "w600k_r50.onnx", "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43", 174_383_860
)
W600K_MBF = PinnedFile(
    "w600k_mbf.onnx", "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f", 13_616_099
)
GLINTR100 = PinnedFile(
    "glintr100.onnx", "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf", 260_665_334
)
GENDERAGE = PinnedFile(
    "genderage.onnx", "4fde69b1c810857b88c64a335084f1c3fe8f01246c9a191b48c7bb756d6652fb", 1_322_532
)
LANDMARKS_106 = PinnedFile(
    "2d106det.onnx", "f001b856447c413801ef5c42091ed0cd516fcd21f2d6b79635b1e733a7109dbf", 5_030_888
)
YUNET = PinnedFile(
    "face_detection_yunet_2023mar.onnx",
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    232_589,
)
SFACE = PinnedFile(
    "face_recognition_sface_2021dec.onnx",
    "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
    38_696_353,
)

RESEARCH_ONLY = Licence(
    name="InsightFace model licence: non-commercial research purposes only",
    address="https://github.com/deepinsight/insightface/tree/master/model_zoo#license",
    commercial_use=False,
)
OPENCV_LICENCES = Licence(
    name="MIT (YuNet) and Apache-2.0 (SFace)",
    address="https://github.com/opencv/opencv_zoo/tree/main/models",
    commercial_use=True,
)

# The archives hold 1k3d68.onnx too. An engine places dense landmarks with one network, 2d106det is the
# faster of the two, and the other one's 144 MB stay in the archive.
INSIGHTFACE_ATTRIBUTES = (
    Network(kind="genderage", file=GENDERAGE),
    Network(kind="2d106", file=LANDMARKS_106),
)

# Impostor cosines of a 512-d ArcFace model are close to normal around 0. InsightFace's server states cosine
# 0.4078 at FAR 1e-6 on MR-ALL for buffalo_l: 4.75 standard deviations, hence 0.27 at 1e-3 (3.09) and 0.37
# at 1e-5 (4.26).
ARCFACE_R50_KNOTS = ((-1.0, 0.0), (0.0, 5.0), (0.27, 80.0), (0.37, 99.0), (1.0, 100.0))
ARCFACE_R50_SOURCE = "estimated: normal impostor model through the public cosine 0.4078 at FAR 1e-6 on MR-ALL"
# No such figure is public for MobileFaceNet; smaller models spread impostors a little wider.
ARCFACE_MBF_KNOTS = ((-1.0, 0.0), (0.0, 5.0), (0.29, 80.0), (0.40, 99.0), (1.0, 100.0))
ARCFACE_MBF_SOURCE = "estimated: as buffalo_l, with 8 % more spread for the smaller network"
# OpenCV's sample takes cosine 0.363 as the best threshold on LFW, where a model of 99.6 % errs on some 4 of
# 1000 impostors (2.65 standard deviations): 0.42 at 1e-3, 0.58 at 1e-5.
SFACE_KNOTS = ((-1.0, 0.0), (0.0, 5.0), (0.42, 80.0), (0.58, 99.0), (1.0, 100.0))
SFACE_SOURCE = "estimated: normal impostor model through OpenCV's cosine threshold 0.363 at FAR 4e-3 on LFW"


def _insightface(
    *,
    name: str,
    summary: str,
    model_version: str,
    archive: PinnedFile,
    detector: PinnedFile,
    recognizer: PinnedFile,
    attributes: tuple[Network, ...],
) -> KnownPack:
    """An InsightFace release archive: SCRFD, an ArcFace recogniser, and the attribute networks that it
    holds.
    """
    small = recognizer is W600K_MBF
    return KnownPack(
        name=name,
        summary=summary,
        model_version=model_version,
        licence=RESEARCH_ONLY,
        sources=(Source(archive, f"{INSIGHTFACE}/{archive.name}", archive=True),),
        detector=Network(kind="scrfd", file=detector),
        detector_threshold=0.5,
        detector_nms=0.4,
        recognizer=Network(kind="onnx", file=recognizer),
        colour="rgb",
        mean=127.5,
        std=127.5,
        attributes=attributes,
        calibration=ARCFACE_MBF_KNOTS if small else ARCFACE_R50_KNOTS,
        calibration_source=ARCFACE_MBF_SOURCE if small else ARCFACE_R50_SOURCE,
    )


KNOWN_PACKS = (
    _insightface(
        name="buffalo_l",
        summary="SCRFD-10G, ArcFace ResNet-50 (WebFace600K): the most accurate choice for most machines",
        model_version="2.4",
        archive=PinnedFile(
            "buffalo_l.zip", "80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f", 288_621_354
        ),
        detector=DET_10G,
        recognizer=W600K_R50,
        attributes=INSIGHTFACE_ATTRIBUTES,
    ),
    _insightface(
        name="buffalo_m",
        summary="SCRFD-2.5G, ArcFace ResNet-50 (WebFace600K): as buffalo_l with a lighter detector",
        model_version="2.3",
        archive=PinnedFile(
            "buffalo_m.zip", "d98264bd8f2dc75cbc2ddce2a14e636e02bb857b3051c234b737bf3b614edca9", 275_951_529
        ),
        detector=DET_2_5G,
        recognizer=W600K_R50,
        attributes=INSIGHTFACE_ATTRIBUTES,
    ),
    _insightface(
        name="buffalo_s",
        summary="SCRFD-500M, ArcFace MobileFaceNet (WebFace600K), with attributes: fast on a CPU",
        model_version="2.2",
        archive=PinnedFile(
            "buffalo_s.zip", "d85a87f503f691807cd8bb97128bdf7a0660326cd9cd02657127fa978bab8b5e", 127_607_557
        ),
        detector=DET_500M,
        recognizer=W600K_MBF,
        attributes=INSIGHTFACE_ATTRIBUTES,
    ),
    _insightface(
        name="buffalo_sc",
        summary="SCRFD-500M, ArcFace MobileFaceNet (WebFace600K), no attributes: the smallest download",
        model_version="2.1",
        archive=PinnedFile(
            "buffalo_sc.zip", "57d31b56b6ffa911c8a73cfc1707c73cab76efe7f13b675a05223bf42de47c72", 14_969_382
        ),
        detector=DET_500M,
        recognizer=W600K_MBF,
        attributes=(),
    ),
    _insightface(
        name="antelopev2",
        summary="SCRFD-10G, ArcFace ResNet-100 (Glint360K): the largest, for machines with time to spare",
        model_version="2.5",
        archive=PinnedFile(
            "antelopev2.zip", "8e182f14fc6e80b3bfa375b33eb6cff7ee05d8ef7633e738d1c89021dcf0c5c5", 360_662_982
        ),
        detector=SCRFD_10G,
        recognizer=GLINTR100,
        attributes=INSIGHTFACE_ATTRIBUTES,
    ),
    KnownPack(
        name="opencv_zoo",
        summary="YuNet, SFace (MobileFaceNet): free for commercial use",
        model_version="3.1",
        licence=OPENCV_LICENCES,
        sources=(
            Source(YUNET, f"{OPENCV_ZOO}/face_detection_yunet/{YUNET.name}", archive=False),
            Source(SFACE, f"{OPENCV_ZOO}/face_recognition_sface/{SFACE.name}", archive=False),
        ),
        detector=Network(kind="yunet", file=YUNET),
        detector_threshold=0.6,
        detector_nms=0.3,
        recognizer=Network(kind="onnx", file=SFACE),
        colour="bgr",
        mean=0.0,
        std=1.0,
        calibration=SFACE_KNOTS,
        calibration_source=SFACE_SOURCE,
    ),
)


def known_pack(name: str) -> KnownPack:
    """The pack of that name. Raises NotFound that lists the names there are."""
    for pack in KNOWN_PACKS:
        if pack.name == name:
            return pack
    names = ", ".join(pack.name for pack in KNOWN_PACKS)
    raise NotFound(f"no pack named {name!r} can be pulled; there are {names} ({BUILT_IN} is built in)")


def manifest_text(pack: KnownPack) -> str:
    """The `pack.toml` of a pulled pack."""
    lines = [
        "[pack]",
        f'name = "{pack.name}"',
        f'model_version = "{pack.model_version}"',
        f'licence = "{pack.licence.name}"',
        f'licence_url = "{pack.licence.address}"',
        f"commercial_use = {str(pack.licence.commercial_use).lower()}",
        "",
        "[detector]",
        *_network_lines(pack.detector),
        f"threshold = {pack.detector_threshold}",
        f"nms = {pack.detector_nms}",
        "sizes = [640, 160]",
        "",
        "[alignment]",
        'kind = "arcface"',
        "size = 112",
        "",
        "[recognizer]",
        *_network_lines(pack.recognizer),
        f'colour = "{pack.colour}"',
        f"mean = {pack.mean}",
        f"std = {pack.std}",
    ]
    for network in pack.attributes:
        lines += ["", "[[attributes]]", *_network_lines(network)]
    knots = ", ".join(f"[{cosine}, {similarity}]" for cosine, similarity in pack.calibration)
    lines += ["", "[calibration]", f"knots = [{knots}]", f'source = "{pack.calibration_source}"']
    return "\n".join(lines) + "\n"


def _network_lines(network: Network) -> list[str]:
    return [f'kind = "{network.kind}"', f'file = "{network.file.name}"', f'sha256 = "{network.file.sha256}"']
