"""Balancing channels before depthwise convolutions: the same answers in float32, better ones in int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from facerec.engine.runtime.channel_balance import balance_channels, balanced_tensors
from facerec.engine.runtime.range_measurement import RecordingSession
from facerec.engine.runtime.session import open_session
from facerec.engine.runtime.tensor_range import Range
from facerec.errors import PackError
from int8_products import needs_int8_products

SIZES = np.array([10.0, 4.0, 2.5, 0.1], np.float32)
"""How large the channels of `unequal_network` are."""


def pictures(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(5).random((count, 3, 16, 16), np.float32) * 2 - 1


def unequal_network(activation: str = "Relu", *, constants: bool = False, seen: str = "answer") -> bytes:
    """A convolution, an activation, a depthwise convolution that makes its channels equally large again.

    constants: the weights are `Constant` operations. seen: the output, which can be "between", the tensor
    between the two convolutions, or "both", their sum.
    """
    random = np.random.default_rng(3)
    weights = {
        "w1": random.standard_normal((4, 3, 3, 3)) * SIZES[:, None, None, None],
        "b1": random.standard_normal(4) * SIZES,
        "w2": random.standard_normal((4, 1, 3, 3)) / SIZES[:, None, None, None],
    }
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    pads = [1, 1, 1, 1]
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["sums"], kernel_shape=[3, 3], pads=pads),
        helper.make_node(activation, ["sums"], ["between"]),
        helper.make_node("Conv", ["between", "w2"], ["answer"], kernel_shape=[3, 3], pads=pads, group=4),
        helper.make_node("Add", ["between", "answer"], ["both"]),
    ]
    if constants:
        nodes = [*(helper.make_node("Constant", [], [each.name], value=each) for each in tensors), *nodes]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, 16, 16))
    output = helper.make_tensor_value_info(seen, TensorProto.FLOAT, (1, 4, 16, 16))
    needed = nodes if seen == "both" else nodes[:-1]
    graph = helper.make_graph(needed, "unequal", [image], [output], [] if constants else tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def answers(network: bytes, ranges: dict[str, Range] | None = None) -> NDArray[np.float32]:
    """(pictures, 4, 16, 16) what a network answers, in int8 where there are ranges."""
    precision = "f32" if ranges is None else "int8"
    session = open_session(network, runtime="openvino", threads=1, precision=precision, ranges=ranges)
    return np.concatenate([session.run(picture[None])[0] for picture in pictures(20)])


def measured(network: bytes, folder: Path) -> dict[str, Range]:
    """The ranges of a network's activations on the pictures."""
    file = folder / "network.onnx"
    file.write_bytes(network)
    session = RecordingSession(file, runtime="openvino", threads=1)
    for picture in pictures(20):
        session.run(picture[None])
    return session.ranges()


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu"])
def test_a_balanced_network_answers_as_before(tmp_path: Path, activation: str) -> None:
    network = unequal_network(activation)
    ranges = measured(network, tmp_path)
    model = onnx.load_model_from_string(network)
    changed = balance_channels(model, ranges)
    np.testing.assert_allclose(answers(model.SerializeToString()), answers(network), rtol=1e-4, atol=1e-4)
    assert model.SerializeToString() != network
    # The range that one scale has to cover is that of the largest channel, as before.
    lows, highs = (np.array(bound) for bound in ranges["between"])
    assert changed["between"][1] == pytest.approx(highs.max(), rel=0.1)
    assert changed["between"][0] >= -highs.max()
    again = measured(model.SerializeToString(), tmp_path)["between"]
    reach = np.maximum(np.array(again[1]), -np.array(again[0])) * np.ones(4)
    np.testing.assert_allclose(reach[:3], reach[0], rtol=0.01)
    # The least one was a hundredth of the largest; it is enlarged four times, no more.
    assert reach[3] == pytest.approx(4 * np.maximum(highs, -lows)[3], rel=0.01)


@needs_int8_products
def test_int8_is_nearer_to_f32_where_channels_are_balanced(tmp_path: Path) -> None:
    network = unequal_network()
    ranges = measured(network, tmp_path)
    low, high = ranges["between"]
    assert isinstance(high, tuple)
    whole: dict[str, Range] = {**ranges, "between": (low, max(high))}
    exact = answers(network)
    # Channel by channel: the small ones are those that one scale for all is too coarse for.
    balanced, coarse = (
        np.abs(answers(network, each) - exact).mean(axis=(0, 2, 3)) for each in (ranges, whole)
    )
    assert balanced[3] < coarse[3] / 3
    assert balanced[2] < coarse[2] / 1.5
    assert balanced[0] < 1.5 * coarse[0]


def test_constants_are_weights_too() -> None:
    model = onnx.load_model_from_string(unequal_network(constants=True))
    assert balanced_tensors(model) == ("between",)


@pytest.mark.parametrize(
    ("activation", "seen"), [("Sigmoid", "answer"), ("Relu", "between"), ("Relu", "both")]
)
def test_a_tensor_that_is_used_otherwise_is_not_balanced(activation: str, seen: str) -> None:
    """Factors would not go through a sigmoid, and would be seen in an output or a sum."""
    network = unequal_network(activation, seen=seen)
    model = onnx.load_model_from_string(network)
    assert balanced_tensors(model) == ()
    ranges: dict[str, Range] = {"image": (-1.0, 1.0), "between": ((0.0,) * 4, (10.0, 4.0, 2.0, 0.1))}
    assert balance_channels(model, ranges) == {"image": (-1.0, 1.0), "between": (0.0, 10.0)}
    assert model.SerializeToString() == network


def test_weights_that_serve_twice_are_left() -> None:
    model = onnx.load_model_from_string(unequal_network())
    model.graph.node.append(helper.make_node("Conv", ["image", "w1"], ["again"], kernel_shape=[3, 3]))
    assert balanced_tensors(model) == ()


def test_ranges_of_whole_tensors_change_nothing() -> None:
    network = unequal_network()
    model = onnx.load_model_from_string(network)
    ranges: dict[str, Range] = {"image": (-1.0, 1.0), "between": (0.0, 10.0)}
    assert balance_channels(model, ranges) == ranges
    assert model.SerializeToString() == network


def test_a_tensor_that_is_always_zero_is_left() -> None:
    network = unequal_network()
    model = onnx.load_model_from_string(network)
    assert balance_channels(model, {"between": (0.0, (0.0,) * 4)}) == {"between": (0.0, 0.0)}
    assert model.SerializeToString() == network


def test_ranges_of_another_number_of_channels_are_refused() -> None:
    model = onnx.load_model_from_string(unequal_network())
    with pytest.raises(PackError, match=r"of 3 channels of 'between', which has 4"):
        balance_channels(model, {"between": (0.0, (1.0, 2.0, 3.0))})
