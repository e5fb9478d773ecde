import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from facerec.engine.packs import manifest
from facerec.engine.packs.manifest import PackManifest, read_manifest, sha256
from facerec.errors import PackError

TEXT = """
[pack]
name = "small"
model_version = "2.1"
licence = "MIT"
licence_url = "https://example.org/licence"
commercial_use = true

[detector]
kind = "scrfd"
file = "det.onnx"
threshold = 0.5
nms = 0.4
sizes = [640, 160]

[alignment]
kind = "arcface"
size = 112

[recognizer]
kind = "onnx"
file = "rec.onnx"
colour = "rgb"
mean = 127.5
std = 128

[[attributes]]
kind = "genderage"
file = "genderage.onnx"

[[liveness]]
kind = "minifasnet"
file = "liveness.onnx"
scale = 2.7

[calibration]
knots = [[-1, 0], [0.3, 80.0], [1.0, 100.0]]
source = "estimated: for this test"
"""


def write(folder: Path, text: str = TEXT) -> Path:
    folder.mkdir(exist_ok=True)
    for name in ("det.onnx", "rec.onnx", "genderage.onnx", "quality.onnx", "liveness.onnx"):
        (folder / name).write_bytes(name.encode())
    (folder / "pack.toml").write_text(text)
    return folder


def changed(tmp_path: Path, old: str, new: str) -> PackManifest:
    assert old in TEXT
    return read_manifest(write(tmp_path / "pack", TEXT.replace(old, new)))


def test_every_value_is_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "pack")
    manifest = read_manifest(folder)
    assert (manifest.name, manifest.model_version, manifest.licence) == ("small", "2.1", "MIT")
    assert manifest.licence_url == "https://example.org/licence"
    assert manifest.commercial_use is True
    assert manifest.detector.kind == "scrfd"
    assert manifest.detector.file == folder / "det.onnx"
    assert (manifest.detector.threshold, manifest.detector.nms) == (0.5, 0.4)
    assert manifest.detector.sizes == (640, 160)
    assert manifest.landmarker is None
    assert (manifest.alignment.kind, manifest.alignment.size) == ("arcface", 112)
    assert (manifest.recognizer.colour, manifest.recognizer.mean, manifest.recognizer.std) == (
        "rgb",
        127.5,
        128,
    )
    assert manifest.recognizer.digest == sha256(folder / "rec.onnx")
    assert [(one.kind, one.file.name) for one in manifest.attributes] == [("genderage", "genderage.onnx")]
    assert [(one.file.name, one.scale) for one in manifest.liveness] == [("liveness.onnx", 2.7)]
    assert manifest.calibration.similarity(0.3) == 80
    assert manifest.calibration_source == "estimated: for this test"


def test_what_is_optional_may_be_missing(tmp_path: Path) -> None:
    text = re.sub(r"licence.*\n|commercial_use.*\n|\[\[attributes\]\]\nkind.*\nfile.*\n", "", TEXT)
    manifest = read_manifest(write(tmp_path / "pack", text))
    assert manifest.attributes == ()
    assert manifest.commercial_use is None
    assert manifest.licence == "not stated"


def test_symbolic_links_are_followed(tmp_path: Path) -> None:
    folder = write(tmp_path / "pack")
    (tmp_path / "elsewhere.onnx").write_bytes(b"weights")
    (folder / "rec.onnx").unlink()
    (folder / "rec.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    assert read_manifest(folder).recognizer.digest == sha256(tmp_path / "elsewhere.onnx")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "small"', "", "[pack] name is missing"),
        ('name = "small"', 'name = "a b"', "letters, digits"),
        ('model_version = "2.1"', 'model_version = "v2"', "digits and dots"),
        ('model_version = "2.1"', "model_version = 2.1", "digits and dots"),
        ("commercial_use = true", 'commercial_use = "yes"', "true or false"),
        ('kind = "scrfd"', 'kind = "haar"', "one of scrfd, yunet, mmod"),
        ("threshold = 0.5", "threshold = 50", "a number from 0 to 1"),
        ("threshold = 0.5", "threshold = true", "a number from 0 to 1"),
        ("threshold = 0.5", "treshold = 0.5", "[detector] threshold is missing"),
        ("nms = 0.4", "nms = 0.4\nmns = 0.4", "[detector] mns is not known; accepted are file, kind"),
        ("sizes = [640, 160]", "sizes = []", "a list of sides in pixels"),
        ("sizes = [640, 160]", "sizes = [640.5]", "a list of sides in pixels"),
        ("sizes = [640, 160]", "sizes = 640", "a list of sides in pixels"),
        ('file = "det.onnx"', 'file = "other.onnx"', "[detector] file names other.onnx, which is not in"),
        ('file = "det.onnx"', 'file = "../det.onnx"', "inside the pack's folder"),
        ('file = "det.onnx"', 'file = "/etc/passwd"', "inside the pack's folder"),
        ('file = "det.onnx"', 'file = "C:\\\\det.onnx"', "inside the pack's folder"),
        ('file = "rec.onnx"', f'file = "rec.onnx"\nsha256 = "{"0" * 64}"', "the file is another one"),
        ("std = 128", "std = 0", "a number above 0"),
        ("std = 128", 'std = 128\ncentre = "centre.npy"', "[recognizer] centre names centre.npy"),
        ('colour = "rgb"', 'colour = "grey"', "one of rgb, bgr"),
        ('kind = "arcface"', 'kind = "dlib"', "the landmarks of scrfd take 'arcface'"),
        ('kind = "scrfd"', 'kind = "mmod"', "[landmarker] is missing"),
        (
            "[alignment]",
            '[landmarker]\nkind = "dlib_shape_predictor"\nfile = "det.onnx"\n[alignment]',
            "itself",
        ),
        ('kind = "genderage"', 'kind = "mood"', "[[attributes]] kind is 'mood'"),
        ("knots = [[-1, 0], [0.3, 80.0], [1.0, 100.0]]", "knots = [[0.5, 1]]", "[calibration] knots"),
        ("knots = [[-1, 0], [0.3, 80.0], [1.0, 100.0]]", "knots = [1, 2]", "[cosine, similarity] pairs"),
        ("source =", "sauce =", "[calibration] source is missing"),
        ("[calibration]", "[calibrations]", "calibration is missing"),
        ("[[attributes]]", "[likeness]", "likeness is not known"),
        (
            "[calibration]",
            '[quality]\nkind = "looks"\nfile = "quality.onnx"\n[calibration]',
            "one of ediffiqa",
        ),
    ],
)
def test_mistakes_name_the_file_the_key_and_the_remedy(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(PackError) as caught:
        changed(tmp_path, old, new)
    assert str(tmp_path / "pack" / "pack.toml") in caught.value.message
    assert message in caught.value.message


def test_a_quality_network_is_a_part(tmp_path: Path) -> None:
    manifest = changed(
        tmp_path, "[calibration]", '[quality]\nkind = "ediffiqa"\nfile = "quality.onnx"\n[calibration]'
    )
    assert manifest.quality is not None
    assert manifest.quality.file.name == "quality.onnx"


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PackError, match=r"pack\.toml cannot be read"):
        read_manifest(tmp_path)
    (tmp_path / "pack.toml").write_text("= nonsense")
    with pytest.raises(PackError, match="is not TOML"):
        read_manifest(tmp_path)
    (tmp_path / "pack.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PackError, match="is not TOML"):
        read_manifest(tmp_path)


def test_the_contract_follows_what_embeddings_depend_on(tmp_path: Path) -> None:
    first = read_manifest(write(tmp_path / "pack")).contract(128)
    assert (first.pack, first.model_version, first.dimension) == ("small", "2.1", 128)
    assert re.fullmatch("[0-9a-f]{64}", first.id)
    # Another detector, threshold, licence or calibration leaves embeddings comparable.
    for old, new in (
        ("sizes = [640, 160]", "sizes = [320]"),
        ("threshold = 0.5", "threshold = 0.2"),
        ('licence = "MIT"', 'licence = "other"'),
        ("[0.3, 80.0]", "[0.4, 80.0]"),
    ):
        assert changed(tmp_path, old, new).contract(128).id == first.id
    np.save(tmp_path / "pack" / "centre.npy", np.zeros(128, np.float32))
    others = [
        changed(tmp_path, old, new).contract(128).id
        for old, new in (
            ("mean = 127.5", "mean = 0"),
            ("std = 128", "std = 127.5"),
            ('colour = "rgb"', 'colour = "bgr"'),
            ("size = 112", "size = 224"),
            ("std = 128", 'std = 128\ncentre = "centre.npy"'),
        )
    ]
    write(tmp_path / "pack")
    (tmp_path / "pack" / "rec.onnx").write_bytes(b"other weights")
    others.append(read_manifest(tmp_path / "pack").contract(128).id)
    others.append(read_manifest(write(tmp_path / "pack")).contract(512).id)
    assert len({first.id, *others}) == 8


def test_the_digest_of_a_large_file_is_read_once_for_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weights.onnx"
    for content in (b"a" * 2**24, b"b" * 2**24):
        file.write_bytes(content)
        expected = hashlib.sha256(content).hexdigest()
        assert manifest.sha256(file) == expected
        with monkeypatch.context() as patched:
            patched.setattr(manifest, "_digest", None)
            assert manifest.sha256(file) == expected
