import shutil
from pathlib import Path

import numpy as np
import pytest

from facerec.config import Settings, read_settings
from facerec.engine.base import Engine, Floats
from facerec.engine.fake import FakeEngine
from facerec.engine.packs.loading import load_pack, open_engine
from facerec.errors import ConfigurationError, PackError


def settings(tmp_path: Path, **others: object) -> Settings:
    return read_settings(data_dir=tmp_path / "data", **others)


def largest(engine: Engine, path: Path) -> Floats:
    picture = engine.decode(path.read_bytes())
    (vector,) = engine.embed(picture, engine.detect(picture)[:1])
    return np.asarray(vector)


def test_the_fake_engine_has_a_name(tmp_path: Path) -> None:
    engine = open_engine(settings(tmp_path, model_path="fake"))
    assert isinstance(engine, FakeEngine)
    engine.close()


def test_a_folder_and_a_pulled_name_open_the_same_pack(
    tmp_path: Path, scrfd_pack: Path, shared: Path
) -> None:
    pulled = tmp_path / "data" / "packs" / "mine"
    shutil.copytree(scrfd_pack, pulled)
    photo = shared / "data" / "photos" / "002_A.jpg"
    vectors = []
    for name in ("mine", str(scrfd_pack)):
        engine = open_engine(settings(tmp_path, model_path=name, precision="f32"))
        assert engine.contract.pack == "scrfd_mobilefacenet"
        assert engine.contract.model_version == "9.1"
        assert engine.contract.dimension == 128
        vectors.append(largest(engine, photo))
        engine.close()
    assert vectors[0] @ vectors[1] == pytest.approx(1, abs=1e-5)


def test_the_runtimes_agree(tmp_path: Path, scrfd_pack: Path, shared: Path) -> None:
    photo = shared / "data" / "photos" / "002_A.jpg"
    vectors = []
    for runtime in ("openvino", "onnxruntime"):
        engine = load_pack(scrfd_pack, settings(tmp_path, runtime=runtime, precision="f32"))
        vectors.append(largest(engine, photo))
        engine.close()
    assert vectors[0] @ vectors[1] > 0.9999


def test_settings_override_the_detector_and_leave_the_contract(
    tmp_path: Path, scrfd_pack: Path, shared: Path
) -> None:
    data = (shared / "data" / "photos" / "000_5.jpg").read_bytes()
    engines = [
        load_pack(scrfd_pack, settings(tmp_path)),
        load_pack(scrfd_pack, settings(tmp_path, min_face_confidence=0.999)),
        load_pack(scrfd_pack, settings(tmp_path, detection_sizes=(64,))),
        load_pack(scrfd_pack, settings(tmp_path, max_faces_per_image=2)),
    ]
    assert len({engine.contract.id for engine in engines}) == 1
    plain, strict, coarse, few = (len(engine.detect(engine.decode(data))) for engine in engines)
    assert plain == 5
    assert strict == 0
    assert coarse < plain
    assert few == 2
    for engine in engines:
        engine.close()


def test_the_centre_moves_embeddings_and_is_part_of_the_contract(
    tmp_path: Path, scrfd_pack: Path, shared: Path
) -> None:
    folder = shutil.copytree(scrfd_pack, tmp_path / "centred")
    text = (folder / "pack.toml").read_text().replace("std = 128.0", 'std = 128.0\ncentre = "centre.npy"')
    (folder / "pack.toml").write_text(text)
    np.save(folder / "centre.npy", np.full(128, 0.5, np.float32))
    photo = shared / "data" / "photos" / "002_A.jpg"
    plain, centred = load_pack(scrfd_pack, settings(tmp_path)), load_pack(folder, settings(tmp_path))
    assert plain.contract.id != centred.contract.id
    assert largest(plain, photo) @ largest(centred, photo) < 0.999
    plain.close()
    centred.close()
    for wrong in (np.zeros(5, np.float32), np.zeros(128), np.full(128, np.nan, np.float32)):
        np.save(folder / "centre.npy", wrong)
        with pytest.raises(PackError, match="expected 128 finite float32"):
            load_pack(folder, settings(tmp_path))
    (folder / "centre.npy").write_bytes(b"no array")
    with pytest.raises(PackError, match=r"centre\.npy is no \.npy file"):
        load_pack(folder, settings(tmp_path))


def test_a_folder_of_networks_alone_is_a_pack(tmp_path: Path, scrfd_pack: Path, shared: Path) -> None:
    folder = shutil.copytree(scrfd_pack, tmp_path / "bare")
    (folder / "pack.toml").unlink()
    engine = open_engine(settings(tmp_path, model_path=str(folder)))
    assert engine.contract.pack == "bare"
    assert largest(engine, shared / "data" / "photos" / "002_A.jpg").shape == (128,)
    engine.close()


def test_a_recogniser_that_does_not_fit_the_alignment_is_named(tmp_path: Path, scrfd_pack: Path) -> None:
    folder = shutil.copytree(scrfd_pack, tmp_path / "pack")
    text = (folder / "pack.toml").read_text().replace("size = 112", "size = 128")
    (folder / "pack.toml").write_text(text)
    with pytest.raises(PackError, match=r"mobilefacenet_128d\.onnx takes inputs .* crops of 128 x 128"):
        load_pack(folder, settings(tmp_path))


def test_names_that_lead_nowhere_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="facerec packs pull buffalo_l"):
        open_engine(settings(tmp_path, model_path="buffalo_l"))
    with pytest.raises(PackError, match="no model pack or folder nowhere; a pack is a folder with"):
        open_engine(settings(tmp_path, model_path="nowhere"))


def test_damaged_weights_are_an_error_that_names_the_file(tmp_path: Path, scrfd_pack: Path) -> None:
    folder = shutil.copytree(scrfd_pack, tmp_path / "pack")
    (folder / "scrfd_500m_bnkps.onnx").write_bytes(b"\0" * 1000)
    with pytest.raises((PackError, ConfigurationError), match="scrfd_500m_bnkps"):
        load_pack(folder, settings(tmp_path))


@pytest.mark.slow
def test_the_built_in_pack_opens_by_name(tmp_path: Path, shared: Path) -> None:
    engine = open_engine(settings(tmp_path, model_path="dlib"))
    assert engine.contract.pack == "dlib"
    photos = shared / "data" / "photos"
    one, same, other = (largest(engine, photos / name) for name in ("001_A.jpg", "002_A.jpg", "008_B.jpg"))
    assert engine.calibration.similarity(float(one @ same)) > 80
    assert engine.calibration.similarity(float(one @ other)) < 80
    picture = engine.decode((photos / "002_A.jpg").read_bytes())
    points = {point.type: point for point in engine.detect(picture)[0].face.landmarks}
    assert points["leftEyeLeft"].x < points["eyeLeft"].x < points["nose"].x < points["eyeRight"].x
    assert "mouthLeft" not in points
    engine.close()
