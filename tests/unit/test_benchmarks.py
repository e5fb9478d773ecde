"""The scripts of `benchmarks/`: the page of results says what the files say, and the arithmetic is right."""

from __future__ import annotations

import importlib
import json
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facerec.cli.bench import peak
from facerec.cli.bench.multiply_adds import multiply_adds
from facerec.engine.runtime.session import open_session
from facerec.errors import PackError

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What imports a script of the folder by its name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


def keep(folder: Path, name: str, part: str, figures: dict[str, Any]) -> None:
    """A file as `run.py` writes it."""
    machine = {
        "processors": 2,
        "processor": "P",
        "instructions": ["avx2"],
        "memory_gib": 8,
        "system": "S",
        "python": "3",
    }
    result = {
        "name": name,
        "part": part,
        "title": name,
        "command": "facerec",
        "date": "2026-01-01 00:00 UTC",
        "commit": "abc",
        "quick": False,
        "machine": machine,
        "versions": {"numpy": "2"},
        "figures": figures,
    }
    (folder / "results").mkdir(exist_ok=True)
    (folder / "results" / f"{name}.json").write_text(json.dumps(result))


ENGINE = {
    "pack": "p",
    "images": 10,
    "rounds": 1,
    "threads": 2,
    "workers": 3,
    "faces": 12,
    "processor_ms": 10.0,
    "images_per_second": 200.0,
    "peer": "insightface 2.1",
    "peer_images_per_second": 40.0,
    "peer_processor_ms": 50.0,
    "peer_faces": 12,
    "ratio": 5.0,
    "share_of_floor": 0.25,
    "by_round": [{"images_per_second": 200.0, "peer_images_per_second": 40.0, "ratio": 5.0}],
}


@pytest.fixture
def results(script: Any, tmp_path: Path) -> Any:
    """Two engines, a gallery and a service, and nothing else."""
    (tmp_path / "earlier.json").write_text((BENCHMARKS / "earlier.json").read_text())
    keep(tmp_path, "engine_lfw", "engine", ENGINE)
    keep(tmp_path, "engine_photos", "engine", ENGINE | {"images_per_second": 50.0})
    gallery = {"faces": 1_000_000, "dimension": 512, "found": 0.99995, "asked": 2000, "bytes_a_face": 588.0}
    stores = [
        {**gallery, "store": "facerec, int8", "one_ms": 4.0, "reading_share": 0.7},
        {**gallery, "store": "FAISS 1, flat float32", "one_ms": 60.0, "bytes_a_face": 2048.0},
    ]
    keep(tmp_path, "search_512", "search", {"searches": stores, "starts": []})
    run = {
        "clients": 16,
        "requests": 9,
        "errors": 0,
        "requests_per_second": 205.0,
        "p50_ms": 5.0,
        "p99_ms": 9.0,
    }
    keep(tmp_path, "service_detect_lfw", "service", {"runs": [run, run | {"clients": 4}]})
    return script("files").read_results(tmp_path)


# --- what the files say


def test_the_page_and_the_guides_are_as_the_files_would_have_them(script: Any) -> None:
    report = script("report")
    results = script("files").read_results()
    assert report.PAGE.read_text(encoding="utf-8") == report.page(results), "stale: run `make bench-report`"
    for guide in report.GUIDES:
        text = guide.read_text(encoding="utf-8")
        assert "<!-- figures: " in text
        assert script("figures").fill(text, results) == text, "stale: run `make bench-report`"


def test_goals_are_reached_or_not_or_were_not_measured(script: Any, results: Any) -> None:
    rows = {row.work: row for row in script("goals").rows(results)}
    small = rows["engine, small pictures, SCRFD-500M + MobileFaceNet"]
    assert (small.ours, small.peer, small.ratio, small.share) == ("200.0 images/s", "40.0", "5.00×", "25%")
    assert small.met is False  # 6 was to be reached
    assert rows["engine, photographs, the same networks"].met is True  # 5 was
    assert rows["engine, small pictures, SCRFD-2.5G + IResNet-50"].met is None

    search = rows["search, 1 M faces of 512 dimensions, one probe"]
    assert (search.ours, search.ratio, search.share, search.met) == ("4.00 ms", "15.0×", "70%", True)
    assert rows["search, 1 M faces of 512 dimensions, memory"].ours == "0.59 GB"
    assert rows["search, 10 M faces of 512 dimensions, one probe"].met is None

    assert rows["DetectFaces, small pictures, 16 clients"].met is True  # five times 41
    assert rows["DetectFaces, small pictures, 4 clients"].met is False  # not five times 44
    assert rows["DetectFaces, small pictures, 1 client"].met is None


def test_a_page_is_made_of_whatever_is_there(script: Any, results: Any, tmp_path: Path) -> None:
    page = script("report").page(results)
    assert "| engine_lfw | p |" in page
    assert "not measured" in page
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "earlier.json").write_text((BENCHMARKS / "earlier.json").read_text())
    nothing = script("files").read_results(tmp_path / "none")
    assert "Not measured." in script("report").page(nothing)


def test_an_album_costs_its_share_of_an_hour(script: Any, results: Any) -> None:
    marked = "<!-- figures: sizing -->\nold\n<!-- end -->"
    text = script("figures").fill(marked, results)
    # 200 a second on two processors: 50 seconds of an hour at 10 cents.
    assert "| small pictures, small networks | 100 | 0.8 minutes | US$ 0.0014 | US$ 10.00 |" in text
    assert "| 512 | 588 | 1.7 million |" in text
    assert "old" not in text
    with pytest.raises(KeyError):
        script("figures").fill("<!-- figures: unknown -->\n<!-- end -->", results)


# --- measuring


def test_a_measurement_is_kept_with_what_it_depends_on(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, measurements = script("run"), script("measurements")
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    words = ("python", "-c", "import json, os; print(json.dumps({'seen': os.environ['FACEREC_PRECISION']}))")
    one = measurements.Measurement("one", "engine", "a title", words, {"FACEREC_PRECISION": "f32"})
    run._measure(one, quick=False)
    kept = json.loads((tmp_path / "one.json").read_text())
    assert kept["figures"] == {"seen": "f32"}
    assert kept["command"].startswith("FACEREC_PRECISION=f32 python -c")
    assert {"machine", "versions", "commit", "date"} < set(kept)
    assert kept["versions"]["numpy"] == np.__version__

    broken = measurements.Measurement("one", "engine", "a title", ("python", "-c", "raise SystemExit(3)"))
    with pytest.raises(subprocess.CalledProcessError):
        run._measure(broken, quick=False)
    assert json.loads((tmp_path / "one.json").read_text()) == kept


def test_without_pictures_the_command_says_what_is_missing() -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "run.py", "--images", "/nowhere"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "no folder /nowhere" in done.stderr
    assert "IMAGES=FOLDER" in done.stderr


def test_noses_are_found_in_one_box_each() -> None:
    found = runpy.run_path(str(BENCHMARKS / "accuracy" / "photo_recall.py"))["found"]

    class Face:
        def __init__(self, *box: float) -> None:
            self.box = np.array(box, np.float32)

    faces = [Face(0, 0, 10, 10), Face(20, 0, 30, 10)]
    assert found([(5, 5), (25, 5)], faces) == 2
    assert found([(5, 5), (6, 6)], faces) == 1
    assert found([(15, 5)], faces) == 0


# --- multiply-adds


def test_multiply_adds_of_each_operator() -> None:
    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(np.ones(shape, np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["a", "d"], ["b"], group=4, pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("ConvTranspose", ["b", "t"], ["c"], strides=[2, 2]),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "some",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight("w", 4, 3, 3, 3), weight("d", 4, 1, 3, 3), weight("t", 4, 2, 2, 2), weight("m", 96, 5)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    # 48 places of 4 outputs behind 27 numbers; 12 places of 4 behind 9; 48 numbers into 8 each; 96 by 5.
    by_hand = 48 * 4 * 27 + 12 * 4 * 9 + 48 * 8 + 96 * 5
    assert multiply_adds(model.SerializeToString(), (1, 3, 8, 6)) == by_hand
    with pytest.raises(PackError, match="can not take inputs"):
        multiply_adds(model.SerializeToString(), (1, 4, 8, 6))


def test_the_peak_is_that_of_as_many_multiply_adds_as_it_says() -> None:
    for precision in ("f32", "int8"):
        content = peak._products(precision).SerializeToString()
        assert multiply_adds(content, (peak.ROWS, peak.WIDTH)) == peak.MULTIPLY_ADDS
    assert peak.PeakKernel("f32").rate(runs=1) > 0
    with pytest.raises(ValueError, match="f32 or int8"):
        peak.PeakKernel("f16")


@pytest.mark.slow
def test_the_random_recogniser_is_an_iresnet50() -> None:
    made = runpy.run_path(str(BENCHMARKS / "engine" / "random_networks.py"))
    network = made["iresnet50"]()
    weights = sum(int(np.prod(weight.dims)) for weight in network.graph.initializer)
    assert weights == pytest.approx(43.6e6, rel=0.01)
    content = network.SerializeToString()
    assert multiply_adds(content, (1, 3, 112, 112)) == pytest.approx(6.31e9, rel=0.01)

    small = made["iresnet50"](stages=((8, 1), (16, 2), (24, 1), (32, 1)))
    assert (
        small.SerializeToString()
        == made["iresnet50"](stages=((8, 1), (16, 2), (24, 1), (32, 1))).SerializeToString()
    )
    crops = np.random.default_rng(1).uniform(-1, 1, (2, 3, 112, 112)).astype(np.float32)
    (embeddings,) = open_session(small.SerializeToString(), runtime="auto", threads=1).run(crops)
    assert embeddings.shape == (2, 512)
    assert 0.1 < embeddings.std() < 3
