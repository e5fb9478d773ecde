"""Recording the ranges of a network's activations while it answers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from small_networks import depthwise_network, residual_network

from facerec.engine.runtime.pixel_input import PixelInput
from facerec.engine.runtime.range_measurement import RecordingSession
from facerec.engine.runtime.session import open_session
from facerec.errors import PackError


@pytest.fixture
def network(tmp_path: Path) -> Path:
    file = tmp_path / "network.onnx"
    file.write_bytes(residual_network())
    return file


@pytest.fixture(params=["openvino", "onnxruntime"])
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_it_answers_as_the_network_does(network: Path, runtime: str) -> None:
    recording = RecordingSession(network, runtime=runtime, threads=1, input_shape=(None, 3, 16, 16))
    plain = open_session(network, runtime=runtime, threads=1, input_shape=(None, 3, 16, 16))
    assert (recording.output_names, recording.input_shape) == (plain.output_names, plain.input_shape)
    images = np.random.default_rng(1).random((2, 3, 16, 16), np.float32)
    answers = recording.run(images)
    assert len(answers) == 1
    np.testing.assert_allclose(answers[0], plain.run(images)[0], atol=1e-5)


def test_it_notes_what_goes_into_products_and_sums(network: Path, runtime: str) -> None:
    recording = RecordingSession(network, runtime=runtime, threads=1)
    images = np.random.default_rng(1).uniform(-2, 3, (30, 1, 3, 16, 16)).astype(np.float32)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(recording.run, images))
    ranges = recording.ranges()
    assert recording.runs == 30
    assert set(ranges) == {"image", "first", "second", "flat"}
    assert ranges["image"] == pytest.approx((-2, 3), abs=0.05)
    low, high = ranges["first"]
    assert low == 0
    assert isinstance(high, float)
    assert high > 0
    recording.forget()
    assert recording.runs == 0


def test_it_notes_each_channel_of_what_goes_into_depthwise_convolutions(tmp_path: Path, runtime: str) -> None:
    file = tmp_path / "depthwise.onnx"
    file.write_bytes(depthwise_network())
    recording = RecordingSession(file, runtime=runtime, threads=1, input_shape=(1, 3, None, None))
    for side in (4, 8):
        recording.run(np.full((1, 3, side, side), 2, np.float32))
    # Three times the picture, none of it, and the picture's opposite.
    assert recording.ranges() == {"image": (2, 2), "between": ((0, 0, -2), (6, 0, 0))}


def test_the_range_of_an_image_follows_from_its_pixels(network: Path) -> None:
    pixels = PixelInput("bgr", mean=127.5, std=-51.0)
    recording = RecordingSession(network, runtime="openvino", threads=1, pixels=pixels)
    recording.run(np.full((1, 16, 16, 3), 100, np.uint8))
    assert recording.ranges()["image"] == (-2.5, 2.5)


def test_one_odd_run_does_not_widen_the_ranges(network: Path) -> None:
    recording = RecordingSession(network, runtime="openvino", threads=1)
    for number in range(300):
        recording.run(np.full((1, 3, 16, 16), 1000 if number == 7 else 1, np.float32))
    assert recording.ranges()["image"] == (1, 1)


def test_without_a_run_there_are_no_ranges(network: Path) -> None:
    with pytest.raises(PackError, match=r"'image' can not be told: the network never ran"):
        RecordingSession(network, runtime="openvino", threads=1).ranges()


def test_numbers_that_are_not_finite_make_no_ranges(network: Path) -> None:
    recording = RecordingSession(network, runtime="onnxruntime", threads=1)
    recording.run(np.full((1, 3, 16, 16), np.nan, np.float32))
    with pytest.raises(PackError, match="gave numbers that are not finite"):
        recording.ranges()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "broken.onnx"
    file.write_bytes(b"no network")
    with pytest.raises(PackError, match=r"broken\.onnx is damaged"):
        RecordingSession(file, runtime="openvino", threads=1)
    with pytest.raises(PackError, match=r"missing\.onnx"):
        RecordingSession(tmp_path / "missing.onnx", runtime="openvino", threads=1)
