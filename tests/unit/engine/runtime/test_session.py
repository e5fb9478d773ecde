from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from small_networks import frozen_network, mean_network

from facerec.engine.base import Session
from facerec.engine.runtime import session as session_module
from facerec.engine.runtime.compiled_forms import CompiledForms, Form
from facerec.engine.runtime.session import open_session
from facerec.errors import ConfigurationError, PackError

RUNTIMES = ["openvino", "onnxruntime"]


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def picture(batch: int, height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(7).random((batch, 3, height, width), np.float32)


def hide(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Let packages seem not to be installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in packages else find(name))


def test_a_network_runs_as_its_file_declares(runtime: str) -> None:
    session = open_session(frozen_network(), runtime=runtime, threads=1)
    image = picture(1, 16, 16)
    pixels, means = session.run(image)
    assert session.input_names == ("image",)
    assert session.output_names == ("pixels", "means")
    assert session.input_shape == (1, 3, 16, 16)
    np.testing.assert_allclose(pixels[0], image.repeat(2, axis=2).repeat(2, axis=3).ravel(), rtol=1e-6)
    np.testing.assert_allclose(means, image.mean(axis=(2, 3)), rtol=1e-5)


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 16, 16), (5, 16, 16), (2, 24, 40), (1, 7, 9)])
def test_a_frozen_network_runs_at_other_sizes(runtime: str, batch: int, height: int, width: int) -> None:
    session = open_session(frozen_network(), runtime=runtime, threads=1, input_shape=(None, 3, None, None))
    image = picture(batch, height, width)
    pixels, means = session.run(image)
    assert session.input_shape == (None, 3, None, None)
    doubled = image.repeat(2, axis=2).repeat(2, axis=3).reshape(batch, -1)
    np.testing.assert_allclose(pixels, doubled, rtol=1e-6)
    np.testing.assert_allclose(means, image.mean(axis=(2, 3)), rtol=1e-5)


def test_another_fixed_size_can_be_asked_for(runtime: str) -> None:
    session = open_session(frozen_network(), runtime=runtime, threads=1, input_shape=(4, 3, 8, 8))
    assert session.run(picture(4, 8, 8))[0].shape == (4, 768)


def test_networks_are_read_from_files(runtime: str, tmp_path: Path) -> None:
    file = tmp_path / "network.onnx"
    file.write_bytes(mean_network(("N", 3, "H", "W"), 2.0))
    session = open_session(file, runtime=runtime, threads=1)
    assert session.input_shape == (None, 3, None, None)
    image = picture(2, 5, 6)
    np.testing.assert_allclose(session.run(image)[0], 2 * image.mean(axis=(2, 3)), rtol=1e-5)


def test_outputs_belong_to_the_caller(runtime: str) -> None:
    session = open_session(mean_network((1, 3, 4, 4), 1.0), runtime=runtime, threads=1)
    first = session.run(np.ones((1, 3, 4, 4), np.float32))[0]
    session.run(np.zeros((1, 3, 4, 4), np.float32))
    np.testing.assert_allclose(first, 1.0)
    first[:] = 5.0
    assert first.flags.owndata or first.base is not None


def test_many_threads_get_their_own_answers(runtime: str) -> None:
    session = open_session(mean_network((1, 3, 64, 64), 1.0), runtime=runtime, threads=2)

    def mean_of(value: int) -> float:
        return float(session.run(np.full((1, 3, 64, 64), value, np.float32))[0][0, 0])

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(mean_of, range(200)))
    np.testing.assert_allclose(answers, np.arange(200), rtol=1e-5)


def test_sizes_that_come_often_answer_as_the_first_time(runtime: str) -> None:
    session = open_session(frozen_network(), runtime=runtime, threads=1, input_shape=(None, 3, None, None))
    images = [picture(1, 8 + 4 * index, 40 - 4 * index) for index in range(10)]
    for _ in range(20):
        wait_for_compiling()
        for image in images:
            pixels, means = session.run(image)
            doubled = image.repeat(2, axis=2).repeat(2, axis=3).reshape(1, -1)
            np.testing.assert_allclose(pixels, doubled, rtol=1e-6)
            np.testing.assert_allclose(means, image.mean(axis=(2, 3)), rtol=1e-5)


def test_no_run_waits_while_the_network_is_compiled_for_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    session = open_session(mean_network((1, 3, "H", "W"), 2.0), runtime="openvino", threads=1)
    compiled, sizes = session._compile, []  # type: ignore[attr-defined]
    begun, may_end = threading.Event(), threading.Event()

    def compile_slowly(model: object, streams: int) -> object:
        sizes.append(threading.current_thread())
        begun.set()
        may_end.wait(60)
        return compiled(model, streams)

    monkeypatch.setattr(session, "_compile", compile_slowly)
    image = picture(1, 24, 32)
    answers = []
    while not begun.wait(0.01):
        answers.append(session.run(image)[0])
    answers += [session.run(image)[0] for _ in range(5)]
    may_end.set()
    wait_for_compiling()
    answers += [session.run(image)[0] for _ in range(5)]
    assert len(sizes) == 1
    assert sizes[0] is not threading.current_thread()
    for answer in answers:
        np.testing.assert_allclose(answer, 2 * image.mean(axis=(2, 3)), rtol=1e-5)


def test_a_size_that_a_network_can_not_be_compiled_for_runs_as_before(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    session = open_session(mean_network((1, 3, "H", "W"), 2.0), runtime="openvino", threads=1)

    def refuse(model: object, streams: int) -> object:
        raise RuntimeError("no memory")

    monkeypatch.setattr(session, "_compile", refuse)
    image = picture(1, 24, 32)
    for _ in range(20):
        np.testing.assert_allclose(session.run(image)[0], 2 * image.mean(axis=(2, 3)), rtol=1e-5)
        wait_for_compiling()
    assert [record.message for record in caplog.records] == [
        "the network is not compiled for inputs of the shape (1, 3, 24, 32): no memory"
    ]


@pytest.fixture
def kept_network(tmp_path: Path) -> tuple[Path, CompiledForms]:
    """A network for any size, and the folder in which its compiled forms are kept."""
    file = tmp_path / "network.onnx"
    file.write_bytes(mean_network((1, 3, "H", "W"), 2.0))
    forms = CompiledForms.of(file, tmp_path / "compiled")
    assert forms is not None
    return file, forms


def look(session: Session, image: NDArray[np.float32]) -> None:
    """Run so often that the network is compiled for the image's size; every answer has to be right."""
    for _ in range(20):
        np.testing.assert_allclose(session.run(image)[0], 2 * image.mean(axis=(2, 3)), rtol=1e-5)
        wait_for_compiling()


@pytest.mark.parametrize("parallel", [1, 2])
def test_what_was_compiled_before_is_not_compiled_again(
    kept_network: tuple[Path, CompiledForms], monkeypatch: pytest.MonkeyPatch, parallel: int
) -> None:
    file, forms = kept_network
    image = picture(1, 24, 32)
    first = open_session(file, runtime="openvino", threads=1, parallel=parallel, forms=forms)
    look(first, image)

    def refuse(*_: object) -> object:
        raise AssertionError("compiled again")

    monkeypatch.setattr(session_module._OpenVinoSession, "_compile", refuse)
    monkeypatch.setattr(session_module, "_parse", refuse)
    again = open_session(file, runtime="openvino", threads=1, parallel=parallel, forms=forms)
    look(again, image)
    assert (again.input_names, again.output_names) == (first.input_names, first.output_names)
    assert again.input_shape == first.input_shape == (1, 3, None, None)
    np.testing.assert_array_equal(again.run(picture(1, 9, 9))[0], first.run(picture(1, 9, 9))[0])


def test_a_kept_network_is_compiled_for_sizes_that_are_new(
    kept_network: tuple[Path, CompiledForms], caplog: pytest.LogCaptureFixture
) -> None:
    file, forms = kept_network
    open_session(file, runtime="openvino", threads=1, forms=forms)
    (before,) = forms.folder.iterdir()
    look(open_session(file, runtime="openvino", threads=1, forms=forms), picture(1, 24, 32))
    assert len(list(forms.folder.iterdir())) == 2
    assert before.exists()
    assert caplog.messages == []


def test_a_kept_form_that_the_runtime_does_not_take_is_made_anew(
    kept_network: tuple[Path, CompiledForms], caplog: pytest.LogCaptureFixture
) -> None:
    file, forms = kept_network
    session = open_session(file, runtime="openvino", threads=1, forms=forms)
    made_for = session._made_for  # type: ignore[attr-defined]
    forms.write(Form({"input_shape": [1, 3, None, None], "streams": 1}, b"no network"), **made_for)
    look(open_session(file, runtime="openvino", threads=1, forms=forms), picture(1, 24, 32))
    assert len(caplog.messages) == 1
    assert "network.onnx is compiled anew, for its kept form can not be used" in caplog.messages[0]
    caplog.clear()
    look(open_session(file, runtime="openvino", threads=1, forms=forms), picture(1, 24, 32))
    assert caplog.messages == []


def test_a_file_that_is_replaced_while_it_is_in_use_lends_its_weights_to_nothing(
    kept_network: tuple[Path, CompiledForms], caplog: pytest.LogCaptureFixture
) -> None:
    file, forms = kept_network
    open_session(file, runtime="openvino", threads=1, forms=forms)
    session = open_session(file, runtime="openvino", threads=1, forms=forms)
    file.write_bytes(mean_network((1, 3, "H", "W"), 5.0))
    look(session, picture(1, 24, 32))
    assert len(list(forms.folder.iterdir())) == 1
    assert "was replaced by another file while it was in use" in caplog.messages[0]
    with pytest.raises(PackError, match="replaced"):
        open_session(file, runtime="openvino", threads=1, forms=forms.anew())


def wait_for_compiling() -> None:
    """Until the threads that compile networks for sizes have ended."""
    for thread in threading.enumerate():
        if thread.name == "compiling":
            thread.join()


def test_many_threads_at_many_sizes_get_their_own_answers(runtime: str) -> None:
    session = open_session(mean_network((1, 3, "H", "W"), 1.0), runtime=runtime, threads=1, parallel=2)

    def mean_of(value: int) -> float:
        image = np.full((1, 3, 32 + value % 5, 32), value, np.float32)
        return float(session.run(image)[0][0, 0])

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(mean_of, range(300)))
    np.testing.assert_allclose(answers, np.arange(300), rtol=1e-5)


def test_inputs_in_any_memory_order_are_taken(runtime: str) -> None:
    session = open_session(mean_network((1, 3, 6, 5), 1.0), runtime=runtime, threads=1)
    image = np.random.default_rng(1).random((1, 5, 6, 3), np.float32).transpose(0, 3, 2, 1)
    np.testing.assert_allclose(session.run(image)[0], image.mean(axis=(2, 3)), rtol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_damaged_file_is_refused(runtime: str, share: float) -> None:
    content = frozen_network()
    with pytest.raises(PackError, match="damaged"):
        open_session(content[: int(len(content) * share)], runtime=runtime, threads=1)


def test_bytes_that_are_no_network_are_refused(runtime: str) -> None:
    with pytest.raises(PackError, match="damaged or no ONNX file"):
        open_session(b"<html>404 not found</html>" * 40, runtime=runtime, threads=1)


def test_a_missing_file_is_named(runtime: str, tmp_path: Path) -> None:
    with pytest.raises(PackError, match=r"missing\.onnx can not be read"):
        open_session(tmp_path / "missing.onnx", runtime=runtime, threads=1)


def test_an_input_that_does_not_fit_is_an_error_of_the_pack(runtime: str) -> None:
    session = open_session(mean_network((1, 3, 4, 4), 1.0), runtime=runtime, threads=1)
    with pytest.raises(PackError, match="can not run on inputs"):
        session.run(np.ones((1, 3, 9, 4), np.float32))
    np.testing.assert_allclose(session.run(np.ones((1, 3, 4, 4), np.float32))[0], 1.0)


def test_an_impossible_shape_is_refused(runtime: str) -> None:
    with pytest.raises(PackError, match="was asked for"):
        open_session(frozen_network(), runtime=runtime, threads=1, input_shape=(1, 3, 16))


def test_an_unknown_runtime_is_named() -> None:
    with pytest.raises(ConfigurationError, match="'vulkan' is unknown"):
        open_session(frozen_network(), runtime="vulkan", threads=1)


def test_threads_are_at_least_one() -> None:
    with pytest.raises(ConfigurationError, match="at least 1 thread"):
        open_session(frozen_network(), runtime="auto", threads=0)


def test_auto_takes_openvino_where_it_is_installed() -> None:
    session = open_session(frozen_network(), runtime="auto", threads=1)
    assert "OpenVino" in type(session).__name__


def test_auto_takes_onnx_runtime_where_openvino_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "openvino")
    session = open_session(frozen_network(), runtime="auto", threads=1)
    assert "OnnxRuntime" in type(session).__name__


def test_auto_says_what_to_install_where_nothing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "openvino", "onnxruntime")
    with pytest.raises(ConfigurationError, match="pip install openvino or pip install onnxruntime"):
        open_session(frozen_network(), runtime="auto", threads=1)


def test_a_runtime_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "onnxruntime")
    with pytest.raises(ConfigurationError, match="onnxruntime is not installed: pip install"):
        open_session(frozen_network(), runtime="onnxruntime", threads=1)


def test_the_runtimes_do_not_report_home(runtime: str, tmp_path: Path) -> None:
    """Both runtimes leave an id in the home folder when their telemetry starts."""
    program = (
        "import sys; from facerec.engine.runtime.session import open_session;"
        f"open_session(sys.stdin.buffer.read(), runtime={runtime!r}, threads=1);"
        "assert 'openvino_telemetry' not in sys.modules"
    )
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "CI": ""}
    subprocess.run(
        [sys.executable, "-c", program], input=frozen_network(), env=environment, check=True, timeout=120
    )
    assert list(tmp_path.rglob("*")) == []
