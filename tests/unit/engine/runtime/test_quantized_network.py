"""Int8 networks: they compute what the float32 ones do, in whole numbers, in both runtimes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from small_networks import mean_network, residual_network

from facerec.engine.runtime.pixel_input import PixelInput
from facerec.engine.runtime.quantized_network import quantize_network, quantized_tensors
from facerec.engine.runtime.range_measurement import RecordingSession
from facerec.engine.runtime.session import open_session
from facerec.engine.runtime.tensor_range import Range
from facerec.errors import ConfigurationError, PackError
from int8_products import needs_int8_products


def pictures(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(8).random((count, 3, 16, 16), np.float32) * 2 - 1


@pytest.fixture
def network(tmp_path: Path) -> Path:
    file = tmp_path / "network.onnx"
    file.write_bytes(residual_network())
    return file


@pytest.fixture
def ranges(network: Path) -> dict[str, Range]:
    session = RecordingSession(network, runtime="openvino", threads=1)
    for picture in pictures(40):
        session.run(picture[None])
    return session.ranges()


@needs_int8_products
@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_an_int8_network_answers_nearly_as_the_f32_one(
    network: Path, ranges: dict[str, Range], runtime: str
) -> None:
    plain = open_session(network, runtime=runtime, threads=1)
    coarse = open_session(network, runtime=runtime, threads=1, precision="int8", ranges=ranges)
    for picture in pictures(60)[40:]:
        one, other = (session.run(picture[None])[0][0] for session in (plain, coarse))
        assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.995
        # If they were equal, nothing would have been rounded.
        assert np.abs(one - other).max() > 1e-5


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_an_int8_network_takes_other_shapes_and_pixels(
    network: Path, ranges: dict[str, Range], runtime: str
) -> None:
    pixels = PixelInput("rgb", mean=127.5, std=127.5)
    batch = np.random.default_rng(9).integers(0, 256, (3, 16, 16, 3), np.uint8)
    sessions = [
        open_session(
            network,
            runtime=runtime,
            threads=1,
            input_shape=(None, 3, 16, 16),
            pixels=pixels,
            precision=precision,
            ranges=ranges,
        )
        for precision in ("f32", "int8")
    ]
    for one, other in zip(*(session.run(batch)[0] for session in sessions), strict=True):
        assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.99


def test_products_are_rounded_but_those_of_the_last_pooling(ranges: dict[str, Range]) -> None:
    made = quantize_network(onnx.load_model_from_string(residual_network()), ranges)
    onnx.checker.check_model(made, full_check=True)
    assert Counter(node.op_type for node in made.graph.node)["QuantizeLinear"] == 4
    kinds = {weight.name: weight.data_type for weight in made.graph.initializer}
    assert kinds["w1/steps"] == kinds["w2/steps"] == kinds["w4/steps"] == onnx.TensorProto.INT8
    assert kinds["w3"] == onnx.TensorProto.FLOAT
    assert "w1" not in kinds


def test_each_output_channel_of_the_weights_has_a_scale_of_its_own(ranges: dict[str, Range]) -> None:
    model = onnx.load_model_from_string(residual_network())
    weights = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    made = quantize_network(model, ranges)
    parameters = {weight.name: numpy_helper.to_array(weight) for weight in made.graph.initializer}
    for name in ("w1", "w4"):
        steps, scale = parameters[f"{name}/steps"], parameters[f"{name}/scale"]
        back = steps * scale.reshape(-1, *[1] * (steps.ndim - 1))
        assert np.abs(steps).reshape(len(steps), -1).max(axis=1).tolist() == [127] * len(steps)
        errors = (back - weights[name]).reshape(*steps.shape[:2], -1)
        # Each kernel's sum is right to half a step, and so is a matrix's weight; a kernel's one to a step.
        np.testing.assert_array_less(np.abs(errors.sum(axis=2)).max(), 0.51 * scale.max())
        np.testing.assert_array_less(np.abs(errors).max(), 1.01 * scale.max())


@needs_int8_products
@pytest.mark.parametrize("groups", [1, 16])
@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_what_looks_for_edges_finds_none_in_a_flat_picture(runtime: str, groups: int) -> None:
    """Large weights that add up to nothing, and as much of a bright picture as of a dark one."""
    random = np.random.default_rng(4)
    kernels = random.standard_normal((16, 16 // groups, 3, 3)).astype(np.float32)
    kernels -= kernels.mean(axis=(2, 3), keepdims=True)
    weights = numpy_helper.from_array(kernels, "weights")
    node = helper.make_node("Conv", ["image", "weights"], ["edges"], kernel_shape=[3, 3], group=groups)
    image, edges = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("image", (1, 16, 8, 8)), ("edges", (1, 16, 6, 6)))
    )
    graph = helper.make_graph([node], "edges", [image], [edges], [weights])
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = open_session(
        network.SerializeToString(),
        runtime=runtime,
        threads=1,
        precision="int8",
        ranges={"image": (0.0, 1.0)},
    )
    (found,) = session.run(np.ones((1, 16, 8, 8), np.float32))
    np.testing.assert_allclose(found, 0, atol=1e-5)


def test_where_products_are_added_in_16_bits_no_two_neighbours_are_too_much(ranges: dict[str, Range]) -> None:
    made = quantize_network(onnx.load_model_from_string(residual_network()), ranges, short_sums=True)
    parameters = {weight.name: numpy_helper.to_array(weight) for weight in made.graph.initializer}
    largest = []
    for name in ("w1", "w2", "w4"):
        steps = parameters[f"{name}/steps"].astype(int)
        assert np.abs(steps).max() <= 127
        channels = np.pad(steps.reshape(*steps.shape[:2], -1), ((0, 0), (0, steps.shape[1] % 2), (0, 0)))
        pairs = channels.reshape(len(steps), -1, 2, channels.shape[2])
        for one_sign in (pairs.clip(min=0), -pairs.clip(max=0)):
            sums = one_sign.sum(axis=2)
            assert 255 * sums.max() < 2**15
            largest.append(sums.max())
    # Otherwise steps would be given away.
    assert max(largest) >= 127


@needs_int8_products
@pytest.mark.parametrize("inputs", [3, 16, 17])
@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_no_sum_of_products_overflows(runtime: str, sign: int, side: int, inputs: int) -> None:
    """The worst case: all weights the greatest there are, of one sign, and the brightest picture."""
    weights = numpy_helper.from_array(np.full((16, inputs, side, side), sign, np.float32), "weights")
    node = helper.make_node("Conv", ["image", "weights"], ["sums"], kernel_shape=[side, side])
    shapes = ((1, inputs, 8, 8), (1, 16, 9 - side, 9 - side))
    image, sums = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in zip(("image", "sums"), shapes, strict=True)
    )
    graph = helper.make_graph([node], "sums", [image], [sums], [weights])
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = open_session(
        network.SerializeToString(),
        runtime=runtime,
        threads=1,
        precision="int8",
        ranges={"image": (0.0, 1.0)},
    )
    (found,) = session.run(np.ones(shapes[0], np.float32))
    np.testing.assert_allclose(found, np.full(shapes[1], sign * inputs * side * side), rtol=0.01)


@needs_int8_products
def test_openvino_really_computes_in_int8(ranges: dict[str, Range]) -> None:
    made = quantize_network(onnx.load_model_from_string(residual_network()), ranges)
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(made.SerializeToString()), "CPU")
    kinds = [
        str(operation.get_rt_info()["primitiveType"].value)
        for operation in compiled.get_runtime_model().get_ordered_ops()
        if str(operation.get_rt_info()["layerType"].value) in ("Convolution", "FullyConnected")
    ]
    assert sum(kind.endswith("I8") for kind in kinds) == 3
    assert len(kinds) == 4


def test_older_operators_are_brought_up_to_date(ranges: dict[str, Range]) -> None:
    made = quantize_network(onnx.load_model_from_string(residual_network(opset=11)), ranges)
    assert made.opset_import[0].version == 13
    onnx.checker.check_model(made, full_check=True)


def test_ranges_of_another_network_are_refused(ranges: dict[str, Range]) -> None:
    del ranges["sum" if "sum" in ranges else "second"]
    with pytest.raises(
        PackError, match=r"not this network's: 1 of its 4 tensors have none, such as 'second'"
    ):
        quantize_network(onnx.load_model_from_string(residual_network()), ranges)


@pytest.mark.parametrize("bounds", [(0.0, float("inf")), (float("nan"), 1.0)])
def test_a_range_that_is_not_finite_is_refused(ranges: dict[str, Range], bounds: Range) -> None:
    with pytest.raises(PackError, match=r"range of the activation 'first' is not finite"):
        quantize_network(onnx.load_model_from_string(residual_network()), {**ranges, "first": bounds})


def test_a_tensor_that_is_always_zero_stays_as_it_is(ranges: dict[str, Range]) -> None:
    made = quantize_network(onnx.load_model_from_string(residual_network()), {**ranges, "flat": (0.0, 0.0)})
    assert next(node for node in made.graph.node if node.op_type == "Gemm").input[:2] == ["flat", "w4"]


def test_a_network_without_products_can_not_be_quantised(tmp_path: Path) -> None:
    model = onnx.load_model_from_string(mean_network((1, 3, 4, 4), 1.0))
    assert quantized_tensors(model) == ()
    with pytest.raises(PackError, match="no convolution or matrix product"):
        quantize_network(model, {})
    file = tmp_path / "mean.onnx"
    file.write_bytes(mean_network((1, 3, 4, 4), 1.0))
    with pytest.raises(PackError, match=r"mean\.onnx can not be quantised"):
        RecordingSession(file, runtime="openvino", threads=1)


@pytest.mark.parametrize(("precision", "known"), [("int8", None), ("int4", {}), ("", {})])
def test_a_precision_that_can_not_be_had_is_named(
    network: Path, precision: str, known: dict[str, Range] | None
) -> None:
    with pytest.raises(
        ConfigurationError, match=f"int8 with the ranges of its activations; not '{precision}'"
    ):
        open_session(network, runtime="openvino", threads=1, precision=precision, ranges=known)


def test_bf16_answers_everywhere(network: Path) -> None:
    plain, short = (
        open_session(network, runtime="openvino", threads=1, precision=precision).run(pictures(1))[0]
        for precision in ("f32", "bf16")
    )
    np.testing.assert_allclose(short, plain, atol=0.05)
