"""Int8 networks of real weights: what they cost in accuracy, and `facerec packs quantize`."""

from __future__ import annotations

import csv
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from facerec.cli.pairs import read_pairs
from facerec.cli.precision_cost import Verification, compare_faces, compare_verification
from facerec.config import Settings, read_settings
from facerec.engine.base import Engine, FoundFace
from facerec.engine.packs.loading import load_pack
from facerec.engine.runtime.activation_ranges import find_ranges, ranges_file
from facerec.errors import ConfigurationError, PackError
from facerec.services.evaluation import Booleans
from int8_products import needs_int8_products

NETWORKS = ("scrfd_500m_bnkps", "mobilefacenet_128d")
FRAMES_APART = 2
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def settings(pack: Path, precision: str, **others: object) -> Settings:
    return read_settings(model_path=str(pack), precision=precision, **others)


@pytest.fixture(scope="module")
def engines(scrfd_pack: Path) -> Iterator[tuple[Engine, Engine]]:
    """The pack in f32, and in int8 with the ranges that come with facerec."""
    opened = [load_pack(scrfd_pack, settings(scrfd_pack, precision)) for precision in ("f32", "int8")]
    yield opened[0], opened[1]
    for engine in opened:
        engine.close()


@pytest.fixture
def own_pack(scrfd_pack: Path, tmp_path: Path) -> Path:
    """A pack whose folder can be written."""
    folder = tmp_path / "pack"
    folder.mkdir()
    for path in scrfd_pack.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def few_portraits(shared: Path, tmp_path: Path) -> Path:
    """A folder of thirty portraits."""
    folder = tmp_path / "portraits"
    folder.mkdir()
    for file in sorted((shared / "data" / "lfw" / "images").rglob("*.jpg"))[::53]:
        (folder / file.name).symlink_to(file)
    return folder


@pytest.fixture
def facerec(tmp_path: Path) -> Run:
    """Run the installed script."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        script = Path(sys.executable).parent / "facerec"
        return subprocess.run(
            [str(script), *map(str, arguments)],
            env={**os.environ, "FACEREC_DATA_DIR": str(tmp_path / "data"), **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def unbalance(file: Path) -> None:
    """Let one channel be ten thousand times as large, up to the next convolution, which takes it back.

    The function is the same, but in 256 steps of that range all other channels are zero.
    """
    model = onnx.load(file)
    nodes = list(model.graph.node)
    relu = [node for node in nodes if node.op_type == "Relu"][-1]
    before = next(node for node in nodes if relu.input[0] in node.output)
    (after,) = (node for node in nodes if relu.output[0] in node.input)
    factor = np.float32(10_000)
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight).copy()
        if weight.name in before.input[1:]:
            values[0] *= factor
        elif weight.name == after.input[1]:
            values[:, 0] /= factor
        else:
            continue
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, file)


@needs_int8_products
@pytest.mark.slow
def test_int8_tells_people_apart_as_f32_does(scrfd_pack: Path, shared: Path) -> None:
    """On LFW, in two sizes of the detector: at one alone chance moves the accuracy of f32 by 0.3 points."""
    pairs = read_pairs(shared / "data" / "lfw" / "pairs.csv")
    measured = []
    for size in (240, 272):
        exact, quantized = (
            load_pack(scrfd_pack, settings(scrfd_pack, precision, detection_sizes=(size,)))
            for precision in ("f32", "int8")
        )
        with closing(exact), closing(quantized):
            images = shared / "data" / "lfw" / "images"
            measured.append(compare_verification(exact, quantized, pairs, images, 2))
    together = Verification(
        right=pooled([one.right for one in measured]), accepted=pooled([one.accepted for one in measured])
    )
    plain, coarse, mixed = together.accuracies
    assert plain > 0.99
    assert min(coarse, mixed) >= plain - 0.001
    assert min(together.tars[1:]) >= together.tars[0] - 0.005
    assert together.faults() == []


def pooled(outcomes: Sequence[tuple[Booleans, Booleans, Booleans]]) -> tuple[Booleans, Booleans, Booleans]:
    """The outcomes of several lists of pairs as those of one."""
    plain, coarse, mixed = (np.concatenate(each) for each in zip(*outcomes, strict=True))
    return plain, coarse, mixed


def test_int8_finds_every_annotated_face(engines: tuple[Engine, Engine], shared: Path) -> None:
    folder = shared / "data" / "photos"
    with (folder / "photos.csv").open() as lines:
        for row in csv.DictReader(lines):
            noses = np.array([nose.split(",") for nose in row["noses_xy"].split()], float).reshape(-1, 2)
            picture = engines[1].decode((folder / row["image"]).read_bytes())
            boxes = [face.box for face in engines[1].detect(picture)]
            for x, y in noses:
                assert any(box[0] < x < box[2] and box[1] < y < box[3] for box in boxes), row["image"]
            if not len(noses):
                assert boxes == []


@needs_int8_products
def test_int8_agrees_with_f32_on_single_faces(engines: tuple[Engine, Engine], shared: Path) -> None:
    pictures = sorted((shared / "data" / "lfw" / "images").rglob("*.jpg"))[::40]
    agreement = compare_faces(*engines, pictures, 2)
    assert agreement.faces >= len(pictures)
    assert agreement.found >= 0.98 * agreement.faces
    assert agreement.mean_cosine > 0.99
    assert agreement.least_cosine > 0.95
    # Otherwise it would be f32 twice.
    assert agreement.mean_cosine < 0.99999


@needs_int8_products
def test_int8_finds_blurred_faces_in_the_dark_as_f32_does(
    engines: tuple[Engine, Engine], shared: Path
) -> None:
    """Frames of a concert, of which one scale for all channels, and weights rounded each by itself, lose a
    fifth of the faces."""
    film = cv2.VideoCapture(str(shared / "data" / "video" / "short_hamilton_clip.mp4"))
    faces = lost = new = 0
    for _ in range(0, int(film.get(cv2.CAP_PROP_FRAME_COUNT)), FRAMES_APART):
        read, frame = film.read()
        assert read
        for _ in range(FRAMES_APART - 1):
            film.grab()
        picture = engines[0].decode(cv2.imencode(".png", frame)[1].tobytes())
        exact, coarse = (engine.detect(picture) for engine in engines)
        again = sum(_is_among(face, coarse) for face in exact)
        faces += len(exact)
        lost += len(exact) - again
        new += len(coarse) - again
    film.release()
    assert faces > 250
    assert lost < 0.16 * faces
    assert new < 0.05 * faces


def _is_among(face: FoundFace, others: Sequence[FoundFace]) -> bool:
    """Whether the middle of a face lies in the middle half of another's box."""
    middle = (face.box[:2] + face.box[2:]) / 2
    for other in others:
        away = np.abs(middle - (other.box[:2] + other.box[2:]) / 2)
        if (away < (other.box[2:] - other.box[:2]) / 4).all():
            return True
    return False


def test_the_contract_does_not_depend_on_the_precision(engines: tuple[Engine, Engine]) -> None:
    assert engines[0].contract == engines[1].contract


@needs_int8_products
def test_quantize_writes_ranges_that_the_pack_is_opened_with(
    facerec: Run, own_pack: Path, few_portraits: Path
) -> None:
    (few_portraits / "broken.jpg").write_bytes(b"no picture")
    result = facerec("packs", "quantize", own_pack, "--images", few_portraits, "--json")
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["Faces"] >= 30
    assert set(answer["Networks"]) == {"detector", "recognizer"}
    assert answer["Faults"] == []
    assert "1 of 31 files could not be read" in result.stderr
    assert "Only" in result.stderr
    for name in NETWORKS:
        found = find_ranges(own_pack / f"{name}.onnx")
        assert found is not None
        assert "30 pictures" in found.source
        assert found.cost["mean cosine of f32 and int8"] > 0.99
    engine = load_pack(own_pack, settings(own_pack, "int8"))
    engine.close()


@needs_int8_products
def test_quantize_with_pairs_says_what_verification_loses(
    facerec: Run, own_pack: Path, few_portraits: Path, tmp_path: Path
) -> None:
    names = sorted(path.name for path in few_portraits.iterdir())
    rows = [(one, one, 1) for one in names] + [(one, other, 0) for one, other in itertools.pairwise(names)]
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("image_a,image_b,same_person\n" + "".join(f"{a},{b},{s}\n" for a, b, s in rows))
    result = facerec("packs", "quantize", own_pack, "--images", few_portraits, "--pairs", pairs)
    assert result.returncode == 0, result.stderr
    assert "accuracy f32 against int8" in result.stdout
    assert "mobilefacenet_128d.ranges.toml" in result.stdout


def test_quantize_refuses_a_network_that_int8_ruins_unless_forced(
    facerec: Run, own_pack: Path, few_portraits: Path
) -> None:
    unbalance(own_pack / "mobilefacenet_128d.onnx")
    refused = facerec("packs", "quantize", own_pack, "--images", few_portraits)
    assert refused.returncode == 1, refused.stdout
    assert "is left as it is: the" in refused.stderr
    assert "--force" in refused.stderr
    assert not ranges_file(own_pack / "mobilefacenet_128d.onnx").exists()
    forced = facerec("packs", "quantize", own_pack, "--images", few_portraits, "--force")
    assert forced.returncode == 0, forced.stderr
    assert "All the same: the" in forced.stderr
    assert ranges_file(own_pack / "mobilefacenet_128d.onnx").exists()


def test_quantize_needs_faces_pictures_and_a_pack(
    facerec: Run, own_pack: Path, shared: Path, tmp_path: Path
) -> None:
    empty, faceless = tmp_path / "empty", tmp_path / "faceless"
    empty.mkdir()
    faceless.mkdir()
    Image.new("RGB", (300, 200), "green").save(faceless / "meadow.png")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for path in own_pack.iterdir():
        (damaged / path.name).write_bytes(path.read_bytes()[:9000])
    portraits = shared / "data" / "photos"
    for pack, images, problem in (
        (own_pack, empty, "holds no pictures"),
        (own_pack, tmp_path / "nowhere", "is no folder"),
        (own_pack, faceless, "no face was found in 1 pictures"),
        (damaged, portraits, "mobilefacenet_128d.onnx is damaged"),
        ("unknown", portraits, "there is no model pack or folder unknown"),
        ("buffalo_l", portraits, "is not there yet: facerec packs pull buffalo_l"),
    ):
        result = facerec("packs", "quantize", pack, "--images", images)
        assert result.returncode == 1, result.stdout
        assert problem in result.stderr
    assert not list(own_pack.glob("*.ranges.toml"))


def test_ranges_of_other_weights_keep_a_pack_from_opening(facerec: Run, own_pack: Path) -> None:
    text = f'network = "{"0" * 64}"\nsource = "another"\n[ranges]\n"input" = [-1, 1]\n'
    ranges_file(own_pack / "mobilefacenet_128d.onnx").write_text(text)
    with pytest.raises(PackError, match="ranges of other weights"):
        load_pack(own_pack, settings(own_pack, "auto"))
    verified = facerec("packs", "verify", own_pack)
    assert verified.returncode == 1
    assert "ranges of other weights" in " ".join(verified.stdout.split())


def test_int8_without_ranges_is_refused_when_it_is_asked_for(own_pack: Path) -> None:
    file = own_pack / "mobilefacenet_128d.onnx"
    # A byte of the producer's name: the same network, of another digest.
    content = file.read_bytes()
    assert content.count(b"pytorch") >= 1
    file.write_bytes(content.replace(b"pytorch", b"pytorcH", 1))
    with pytest.raises(ConfigurationError, match="packs quantize"):
        load_pack(own_pack, settings(own_pack, "int8"))
    engine = load_pack(own_pack, settings(own_pack, "auto"))
    engine.close()
