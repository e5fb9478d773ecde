"""Small ONNX networks with known answers, for tests of what surrounds a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def constant_network(shape: Sequence[int | str], outputs: Sequence[NDArray[np.float32]]) -> bytes:
    """A network that gives the same outputs for every input of that shape."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
    ]
    weights = [numpy_helper.from_array(np.array(0, np.float32), "nothing")]
    for index, value in enumerate(outputs):
        weights.append(numpy_helper.from_array(value.astype(np.float32), f"value_{index}"))
        nodes.append(helper.make_node("Add", [f"value_{index}", "zero"], [f"output_{index}"]))
    declared = [
        helper.make_tensor_value_info(f"output_{index}", TensorProto.FLOAT, value.shape)
        for index, value in enumerate(outputs)
    ]
    return _serialize(nodes, shape, declared, weights)


def mean_network(shape: Sequence[int | str], factor: float) -> bytes:
    """A network that gives the mean of each channel times `factor`, (N, 3)."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("Mul", ["means", "factor"], ["output"]),
    ]
    declared = [helper.make_tensor_value_info("output", TensorProto.FLOAT, (shape[0], 3))]
    return _serialize(
        nodes, shape, declared, [numpy_helper.from_array(np.array(factor, np.float32), "factor")]
    )


def frozen_network() -> bytes:
    """A network as exporters freeze it: declared 1 x 3 x 16 x 16, `Resize` to 32 x 32, `Reshape` to a batch
    of 1.

    It gives the image's pixels doubled along both axes, flattened; and its channel means, (N, 3).
    """
    nodes = [
        helper.make_node(
            "Resize",
            ["image", "", "", "sizes"],
            ["large"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        helper.make_node("Reshape", ["large", "flat"], ["pixels"]),
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "flat"], ["means"]),
    ]
    weights = [
        numpy_helper.from_array(np.array([1, 3, 32, 32], np.int64), "sizes"),
        numpy_helper.from_array(np.array([1, -1], np.int64), "flat"),
    ]
    declared = [
        helper.make_tensor_value_info("pixels", TensorProto.FLOAT, (1, 3072)),
        helper.make_tensor_value_info("means", TensorProto.FLOAT, (1, 3)),
    ]
    return _serialize(nodes, (1, 3, 16, 16), declared, weights)


def residual_network(shape: Sequence[int | str] = (1, 3, 16, 16), *, opset: int = 13) -> bytes:
    """A network of random weights with what recognisers are made of; its embedding has 8 numbers.

    A convolution, one of each channel by itself, a sum with what went around it, a large one of each channel
    that leaves one pixel (the sides have to be 16), and a product with a matrix.
    """
    random = np.random.default_rng(3)
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["a"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["first"]),
        helper.make_node(
            "Conv", ["first", "w2"], ["second"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=16
        ),
        helper.make_node("Add", ["second", "first"], ["sum"]),
        helper.make_node("Constant", [], ["w3"], value=_random(random, (16, 1, 16, 16), "w3")),
        helper.make_node("Conv", ["sum", "w3"], ["pooled"], kernel_shape=[16, 16], group=16),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w4", "b4"], ["embedding"], transB=1),
    ]
    shapes = {"w1": (16, 3, 3, 3), "b1": (16,), "w2": (16, 1, 3, 3), "w4": (8, 16), "b4": (8,)}
    weights = [_random(random, shape, name) for name, shape in shapes.items()]
    declared = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, (shape[0], 8))]
    return _serialize(nodes, shape, declared, weights, opset)


def depthwise_network() -> bytes:
    """A network whose tensor "between" has the picture's channels times 3, 0 and -1; a depthwise convolution
    takes it."""
    factors = np.diag(np.array([3, 0, -1], np.float32)).reshape(3, 3, 1, 1)
    nodes = [
        helper.make_node("Conv", ["image", "factors"], ["between"], kernel_shape=[1, 1]),
        helper.make_node("Conv", ["between", "ones"], ["output"], kernel_shape=[1, 1], group=3),
    ]
    weights = [
        numpy_helper.from_array(factors, "factors"),
        numpy_helper.from_array(np.ones((3, 1, 1, 1), np.float32), "ones"),
    ]
    shape = (1, 3, 16, 16)
    declared = [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)]
    return _serialize(nodes, shape, declared, weights)


def _random(random: np.random.Generator, shape: tuple[int, ...], name: str) -> onnx.TensorProto:
    """Weights that neither grow nor shrink what goes through them."""
    spread = 1 / np.sqrt(np.prod(shape[1:]) or 1)
    return numpy_helper.from_array((spread * random.standard_normal(shape)).astype(np.float32), name)


def _serialize(
    nodes: list[onnx.NodeProto],
    shape: Sequence[int | str],
    outputs: list[onnx.ValueInfoProto],
    weights: list[onnx.TensorProto],
    opset: int = 13,
) -> bytes:
    """The bytes of a network with one input, "image"."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "small", [image], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content
