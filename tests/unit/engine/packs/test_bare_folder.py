from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from facerec.engine.packs.bare_folder import infer_manifest
from facerec.errors import PackError


def network(path: Path, inputs: list[int | str], output: list[int], *, normalises: bool = False) -> None:
    """A file whose graph has the form of a network; it computes nothing sensible."""
    nodes = [
        helper.make_node("Sub", ["x", "c"], ["a"]),
        helper.make_node("Mul", ["a", "c"], ["b"]),
    ] * normalises
    nodes.append(helper.make_node("Flatten", ["b" if normalises else "x"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, inputs)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [helper.make_tensor("c", TensorProto.FLOAT, [1], [127.5])],
    )
    onnx.save(helper.make_model(graph), path)


def insightface_folder(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    network(folder / "det_500m.onnx", [1, 3, "h", "w"], [1, 800])
    network(folder / "w600k_mbf.onnx", ["batch", 3, 112, 112], [1, 512])
    network(folder / "genderage.onnx", [1, 3, 96, 96], [1, 3])
    network(folder / "2d106det.onnx", [1, 3, 192, 192], [1, 212])
    return folder


def test_a_folder_of_insightface_is_a_pack(tmp_path: Path) -> None:
    folder = insightface_folder(tmp_path / "my models")
    manifest = infer_manifest(folder)
    assert manifest.name == "my_models"
    assert manifest.detector.kind == "scrfd"
    assert manifest.detector.file == folder / "det_500m.onnx"
    assert manifest.recognizer.file == folder / "w600k_mbf.onnx"
    assert (manifest.recognizer.colour, manifest.recognizer.mean, manifest.recognizer.std) == (
        "rgb",
        127.5,
        127.5,
    )
    assert [one.kind for one in manifest.attributes] == ["genderage", "2d106"]
    assert manifest.calibration_source.startswith("estimated")
    assert manifest.commercial_use is None


def test_a_graph_that_normalises_gets_plain_values(tmp_path: Path) -> None:
    folder = insightface_folder(tmp_path)
    network(folder / "w600k_mbf.onnx", [1, 3, 112, 112], [1, 512], normalises=True)
    recognizer = infer_manifest(folder).recognizer
    assert (recognizer.mean, recognizer.std) == (0, 1)


def test_other_weights_are_another_model_version(tmp_path: Path) -> None:
    first = infer_manifest(insightface_folder(tmp_path))
    network(tmp_path / "w600k_mbf.onnx", [1, 3, 112, 112], [1, 256])
    second = infer_manifest(tmp_path)
    assert first.model_version != second.model_version
    assert set(first.model_version + second.model_version) <= set("0123456789.")
    assert first.contract(512).id != second.contract(512).id


def test_real_networks_are_recognised(shared: Path, tmp_path: Path) -> None:
    for name in ("scrfd_2.5g_bnkps.onnx", "mobilefacenet_128d.onnx", "minifasnet_v2_2.7_80x80.onnx"):
        (tmp_path / name).symlink_to(shared / "models" / name)
    manifest = infer_manifest(tmp_path)
    assert manifest.detector.file.name == "scrfd_2.5g_bnkps.onnx"
    assert manifest.recognizer.file.name == "mobilefacenet_128d.onnx"


def test_a_folder_without_networks_says_what_a_pack_needs(tmp_path: Path) -> None:
    with pytest.raises(PackError, match=r"its detector none will do: a pack is a folder with a pack\.toml"):
        infer_manifest(tmp_path)


def test_a_missing_recogniser_is_named(tmp_path: Path) -> None:
    (insightface_folder(tmp_path) / "w600k_mbf.onnx").unlink()
    with pytest.raises(PackError, match="its recogniser none will do"):
        infer_manifest(tmp_path)


def test_two_of_a_kind_are_not_guessed_between(tmp_path: Path) -> None:
    folder = insightface_folder(tmp_path)
    network(folder / "scrfd_10g.onnx", [1, 3, "h", "w"], [1, 800])
    with pytest.raises(PackError, match=r"its detector 2 \(det_500m.onnx, scrfd_10g.onnx\)"):
        infer_manifest(folder)
    (folder / "scrfd_10g.onnx").unlink()
    network(folder / "glintr100.onnx", [1, 3, 112, 112], [1, 512])
    with pytest.raises(PackError, match=r"its recogniser 2 \(glintr100.onnx, w600k_mbf.onnx\)"):
        infer_manifest(folder)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (insightface_folder(tmp_path) / "w600k_mbf.onnx").write_bytes(b"\xff" * 100)
    with pytest.raises(PackError, match=r"w600k_mbf.onnx is damaged"):
        infer_manifest(tmp_path)
