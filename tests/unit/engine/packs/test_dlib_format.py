"""dlib's file format, on a small network and forest written here byte by byte, and what they compute."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from facerec.engine.packs.dlib_format import Affine, read_network, read_shape_predictor
from facerec.engine.packs.dlib_onnx import detector_to_onnx, recognizer_to_onnx
from facerec.engine.packs.dlib_reader import Reader
from facerec.errors import PackError

Floats = NDArray[np.float32]
RANDOM = np.random.default_rng(5)
MEANS = (120.0, 110.0, 100.0)


def integer(value: int) -> bytes:
    size = max(1, math.ceil(abs(value).bit_length() / 8))
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def integers(*values: int) -> bytes:
    return b"".join(integer(value) for value in values)


def number(value: float) -> bytes:
    mantissa, exponent = math.frexp(value)
    return integers(int(mantissa * 2**53), exponent - 53)


def numbers(*values: float) -> bytes:
    return b"".join(number(value) for value in values)


def string(text: str) -> bytes:
    return integer(len(text)) + text.encode()


def tensor(values: Floats, shape: tuple[int, int, int, int]) -> bytes:
    return integers(2, *shape) + values.astype("<f4").tobytes()


def alias(*shape: int) -> bytes:
    return integers(1, *shape)


EMPTY = tensor(np.empty(0, np.float32), (0, 0, 0, 0))
STATE = b"100" + EMPTY * 3


def convolution(filters: Floats, biases: Floats, stride: int, padding: int) -> bytes:
    count, channels, rows, columns = filters.shape
    values = np.concatenate([filters.ravel(), biases])
    sizes = integers(count, rows, columns, stride, stride, padding, padding)
    shapes = alias(count, channels, rows, columns) + alias(1, count, 1, 1)
    return string("con_4") + tensor(values, (values.size, 1, 1, 1)) + sizes + shapes + numbers(1, 1, 1, 0)


def affine(gain: Floats, offset: Floats) -> bytes:
    values = np.concatenate([gain, offset])
    shapes = alias(1, gain.size, 1, 1) * 2
    return string("affine_") + tensor(values, (1, values.size, 1, 1)) + shapes + integer(0)


def batch_norm(gain: Floats, offset: Floats, means: Floats, variances: Floats, epsilon: float) -> bytes:
    values = np.concatenate([gain, offset])
    shape = (1, gain.size, 1, 1)
    wrong = tensor(np.full(gain.size, 77, np.float32), shape)  # the last batch's: not for inference
    running = tensor(means, shape) + tensor(variances, shape)
    start = string("bn_con2") + tensor(values, (1, values.size, 1, 1)) + alias(*shape) * 2
    return start + wrong * 2 + running + integers(100, 1000) + numbers(1, 1, 1, 1, epsilon)


def fully_connected(weights: Floats) -> bytes:
    inputs, outputs = weights.shape
    shapes = alias(inputs, outputs, 1, 1) + alias(0, 0, 0, 0)
    return (
        string("fc_2")
        + integers(outputs, inputs)
        + tensor(weights, (inputs, outputs, 1, 1))
        + shapes
        + integer(1)
        + numbers(1, 1, 1, 0)
    )


def pool(kind: str, window: int, stride: int) -> bytes:
    return string(kind) + integers(window, window, stride, stride, 0, 0)


def network(loss: bytes, image: bytes, layers: list[bytes | None]) -> bytes:
    """Layers from the input on; None is a tag or skip."""
    versions = [3, *(1 if layer is None else 2 for layer in layers[1:])]
    body = b""
    for i, layer in enumerate(layers):
        if layer is not None:
            body += layer + STATE + (integer(1) if i == 0 else b"")
    return integer(1) + loss + integers(*reversed(versions)) + image + body


METRIC = string("loss_metric_2") + numbers(0.04, 0.6)
MMOD = string("loss_mmod_") + integers(1, 80, 80) + numbers(1, 1, 0.5, 0.3, 1, 0.5, 1)
SIZED = string("input_rgb_image_sized") + numbers(*MEANS) + integers(13, 13)
PYRAMID = string("input_rgb_image_pyramid") + numbers(*MEANS)
RELU, ADD = string("relu_"), string("add_prev_")


def weights(*shape: int) -> Floats:
    return RANDOM.normal(size=shape).astype(np.float32)


FIRST, FIRST_BIAS = weights(4, 3, 3, 3), weights(4)
GAIN, OFFSET = weights(4), weights(4)
DOWN, DOWN_BIAS = weights(6, 4, 3, 3), weights(6)
PLAIN, PLAIN_BIAS = weights(6, 6, 3, 3), weights(6)
LAST = weights(6, 5)
RECOGNIZER = network(
    METRIC,
    SIZED,
    [
        convolution(FIRST, FIRST_BIAS, 1, 0),
        affine(GAIN, OFFSET),
        RELU,
        pool("max_pool_2", 3, 2),
        None,  # a down block: 5 rows of 4 channels become 1 of 6, against 2 of the pooled input
        convolution(DOWN, DOWN_BIAS, 2, 0),
        convolution(PLAIN, PLAIN_BIAS, 2, 1),
        None,
        None,
        pool("avg_pool_2", 2, 2),
        ADD,
        RELU,
        None,  # a plain block
        convolution(PLAIN, PLAIN_BIAS, 1, 1),
        ADD,
        pool("avg_pool_2", 0, 1),
        fully_connected(LAST),
    ],
)
RUNNING_MEAN = weights(1)
DETECTOR = network(
    MMOD,
    PYRAMID,
    [
        convolution(FIRST[:1], FIRST_BIAS[:1], 2, 0),
        batch_norm(GAIN[:1], OFFSET[:1], RUNNING_MEAN, np.ones(1, np.float32) * 3, 1e-4),
    ],
)


def convolve(x: Floats, filters: Floats, biases: Floats, stride: int, padding: int) -> Floats:
    """A convolution of (channels, rows, columns), written as the sum that it is."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, filters.shape[2:], axis=(1, 2))[
        :, ::stride, ::stride
    ]
    return np.asarray(np.einsum("cyxij,ocij->oyx", windows, filters) + biases[:, None, None], np.float32)


def pooled(x: Floats, window: int, stride: int, how: str) -> Floats:
    windows = np.lib.stride_tricks.sliding_window_view(x, (window, window), axis=(1, 2))[
        :, ::stride, ::stride
    ]
    return np.asarray(windows.max(axis=(3, 4)) if how == "max" else windows.mean(axis=(3, 4)), np.float32)


def run(model: bytes, x: Floats) -> Floats:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0], np.float32)


def normalised(pixels: Floats) -> Floats:
    return ((pixels - np.array(MEANS, np.float32)[:, None, None]) / 256).astype(np.float32)


def test_the_recognition_network_computes_what_its_layers_say() -> None:
    pixels = RANDOM.integers(0, 256, (2, 3, 13, 13)).astype(np.float32)
    expected = []
    for x in pixels:
        x = convolve(normalised(x), FIRST, FIRST_BIAS, 1, 0)
        x = np.maximum(x * GAIN[:, None, None] + OFFSET[:, None, None], 0)
        x = pooled(x, 3, 2, "max")
        branch = convolve(convolve(x, DOWN, DOWN_BIAS, 2, 0), PLAIN, PLAIN_BIAS, 2, 1)
        total = np.zeros((6, 2, 2), np.float32)
        total[:4] += pooled(x, 2, 2, "avg")
        total[:, : branch.shape[1], : branch.shape[2]] += branch
        x = np.maximum(total, 0)
        x = x + convolve(x, PLAIN, PLAIN_BIAS, 1, 1)
        expected.append(x.mean(axis=(1, 2)) @ LAST)
    parsed = read_network(RECOGNIZER, "network")
    plain = run(recognizer_to_onnx(parsed, mirrored=False), pixels)
    np.testing.assert_allclose(plain, np.array(expected), rtol=1e-4, atol=1e-4)
    mirror_image = run(recognizer_to_onnx(parsed, mirrored=False), pixels[..., ::-1])
    mean = run(recognizer_to_onnx(parsed, mirrored=True), pixels)
    np.testing.assert_allclose(mean, (plain + mirror_image) / 2, rtol=1e-4, atol=1e-4)


def test_the_detector_takes_the_running_statistics_of_a_batch_norm() -> None:
    found = read_network(DETECTOR, "network")
    assert found.mmod is not None
    assert (found.mmod.window, found.mmod.overlap) == ((80, 80), 0.3)
    norm = found.layers[1]
    assert isinstance(norm, Affine)
    np.testing.assert_allclose(norm.gain, GAIN[:1] / np.sqrt(3.0001), rtol=1e-6)
    np.testing.assert_allclose(norm.offset, OFFSET[:1] - norm.gain * RUNNING_MEAN, rtol=1e-5)
    model = detector_to_onnx(found)
    for rows, columns in ((20, 31), (9, 11)):
        pixels = RANDOM.integers(0, 256, (1, 3, rows, columns)).astype(np.float32)
        expected = convolve(normalised(pixels[0]), FIRST[:1], FIRST_BIAS[:1], 2, 0) * norm.gain + norm.offset
        np.testing.assert_allclose(run(model, pixels)[0], expected, rtol=1e-4, atol=1e-4)


def test_a_recogniser_is_no_detector() -> None:
    with pytest.raises(PackError, match="fixed size"):
        recognizer_to_onnx(read_network(DETECTOR, "network"), mirrored=False)
    with pytest.raises(PackError):
        detector_to_onnx(read_network(RECOGNIZER, "network"))


def predictor(trees: int = 2, cascades: int = 2) -> bytes:
    """A predictor of 2 points with trees of 3 splits."""
    tree = integer(3) + (integers(0, 1) + number(0.25)) * 3 + integer(4)
    tree += (integers(-4, -1) + numbers(0.5, -0.25, 0, 3)) * 4
    forests = integer(cascades) + (integer(trees) + tree * trees) * cascades
    anchors = integer(cascades) + (integer(2) + integers(0, 1)) * cascades
    deltas = integer(cascades) + (integer(2) + numbers(0.1, 0.2, 0.3, 0.4)) * cascades
    return integer(1) + integers(-4, -1) + numbers(0, 0.5, 1, 0.75) + forests + anchors + deltas


def test_a_shape_predictor_is_read_in_order() -> None:
    forest = read_shape_predictor(predictor(), "predictor")
    np.testing.assert_array_equal(forest.initial, np.array([[0, 0.5], [1, 0.75]], np.float32))
    assert forest.leaves.shape == (2, 2, 4, 2, 2)
    np.testing.assert_array_equal(forest.leaves[1, 1, 3], [[0.5, -0.25], [0, 3]])
    np.testing.assert_array_equal(forest.second[0, 1], [1, 1, 1])
    assert (forest.thresholds == 0.25).all()
    np.testing.assert_allclose(forest.deltas[1], [[0.1, 0.2], [0.3, 0.4]], rtol=1e-7)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\x01\x00", 0),
        (b"\x01\x05", 5),
        (b"\x81\x05", -5),
        (b"\x02\x00\x01", 256),
        (b"\x88" + b"\xff" * 7 + b"\x7f", -(2**63 - 1)),
    ],
)
def test_integers(data: bytes, value: int) -> None:
    reader = Reader(data, "file")
    assert reader.integer() == value
    reader.finish()


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01", b"\x00\x00", b"\x09" + b"\x01" * 9, b"\x11\x01", b"\x08" + b"\xff" * 8, b"\x02\x01"],
)
def test_what_is_no_integer_is_refused_with_its_place(data: bytes) -> None:
    with pytest.raises(PackError, match=r"file: .* before byte 0 of"):
        Reader(data, "file").integer()


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(PackError, match="not finite"):
        Reader(integers(1, 32000), "file").floats(1)
    with pytest.raises(PackError, match="not finite"):
        Reader(tensor(np.array([np.nan], np.float32), (1, 1, 1, 1)), "file").tensor()


def test_the_first_of_several_wrong_integers_is_told_with_its_place() -> None:
    reader = Reader(integers(1, 300) + b"\x13\x01" + b"\x00" * 20, "file")
    with pytest.raises(PackError, match="starts no integer before byte 5 of 27"):
        reader.integers(9)
    reader = Reader(integers(7) + b"\x08" + b"\xff" * 8 + b"\x01", "file")
    with pytest.raises(PackError, match=f"the integer {2**64 - 1} before byte 2 of 12"):
        reader.integers(3)


def test_a_variance_below_zero_is_refused() -> None:
    layer = batch_norm(GAIN[:1], OFFSET[:1], RUNNING_MEAN, np.full(1, -1, np.float32), 1e-4)
    with pytest.raises(PackError, match="a variance below zero"):
        read_network(network(MMOD, PYRAMID, [convolution(FIRST[:1], FIRST_BIAS[:1], 2, 0), layer]), "file")


def test_a_huge_size_asks_for_no_memory() -> None:
    with pytest.raises(PackError, match="bytes wanted"):
        Reader(integers(2, 1 << 24, 1 << 24, 1 << 24, 1 << 24), "file").tensor()
    with pytest.raises(PackError, match="count"):
        read_shape_predictor(integer(1) + integers(-4, -1) + numbers(0, 0, 1, 1) + integer(2**40), "file")


@pytest.mark.parametrize("data", [RECOGNIZER, DETECTOR])
def test_a_network_is_read_to_its_last_byte(data: bytes) -> None:
    read_network(data, "network")
    with pytest.raises(PackError, match="1 bytes left over"):
        read_network(data + b"\x00", "network")
    for length in range(0, len(data), 7):
        with pytest.raises(PackError):
            read_network(data[:length], "network")


def test_a_predictor_is_read_to_its_last_byte() -> None:
    data = predictor()
    with pytest.raises(PackError, match="left over"):
        read_shape_predictor(data + b"\x01\x00", "predictor")
    for length in range(len(data)):
        with pytest.raises(PackError):
            read_shape_predictor(data[:length], "predictor")


@settings(max_examples=300, deadline=None)
@given(
    place=st.integers(0, 10**6),
    value=st.integers(0, 255),
    what=st.sampled_from(["network", "detector", "forest"]),
)
def test_damage_is_a_pack_error_or_another_sound_file(place: int, value: int, what: str) -> None:
    data = bytearray({"network": RECOGNIZER, "detector": DETECTOR, "forest": predictor()}[what])
    data[place % len(data)] = value
    try:
        if what == "forest":
            read_shape_predictor(bytes(data), "file")
        elif what == "detector":
            detector_to_onnx(read_network(bytes(data), "file"))
        else:
            recognizer_to_onnx(read_network(bytes(data), "file"), mirrored=True)
    except PackError:
        pass
