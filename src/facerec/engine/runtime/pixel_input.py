"""Lets a network take an image as it lies in memory: what turns pixels into its numbers becomes a part of its
graph.

A runtime joins these few operations with the first convolution, or drops them where that one takes whole
numbers anyway; done outside, they cost a tenth of a small detector's time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from facerec.engine.runtime.reshaping import first_input, input_shape
from facerec.errors import ConfigurationError, PackError

_NAME = "facerec/pixels"


@dataclass(frozen=True, slots=True)
class PixelInput:
    """What a network takes of an image: channels in `colour` order, each (value - mean) / std of 0..255."""

    colour: str
    """"rgb" or "bgr"."""
    mean: float
    std: float

    def __post_init__(self) -> None:
        """Raise ConfigurationError for an unknown colour or an std of 0."""
        if self.colour not in ("rgb", "bgr"):
            raise ConfigurationError(f"a network's colour is rgb or bgr, not {self.colour!r}")
        if self.std == 0:
            raise ConfigurationError("a network's std divides its input; it can not be 0")


def take_pixels(model: onnx.ModelProto, pixels: PixelInput) -> None:
    """Change a network so that it takes images (N, height, width, 3) uint8 RGB.

    Its own input (N, 3, height, width) float32 becomes a value inside the graph, under the name it had.
    Raises PackError for a network that does not take one image.
    """
    shape = input_shape(model)
    if len(shape) != 4 or shape[1] not in (3, None):
        raise PackError(f"a network of images takes inputs of the shape (N, 3, height, width), not {shape}")
    graph = model.graph
    normalised = first_input(model)
    # ONNX names a dimension that varies; the names only have to differ.
    sides = [
        size or name for size, name in zip((shape[0], *shape[2:]), ("N", "height", "width"), strict=True)
    ]
    image = helper.make_tensor_value_info(_NAME, TensorProto.UINT8, [*sides, 3])
    constants = {"mean": np.array(pixels.mean, np.float32), "std": np.array(pixels.std, np.float32)}
    steps = [
        helper.make_node("Transpose", [_NAME], [f"{_NAME}/planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", [f"{_NAME}/planes"], [f"{_NAME}/values"], to=TensorProto.FLOAT),
        helper.make_node("Sub", [f"{_NAME}/values", f"{_NAME}/mean"], [f"{_NAME}/centred"]),
        helper.make_node("Div", [f"{_NAME}/centred", f"{_NAME}/std"], [normalised.name]),
    ]
    if pixels.colour == "bgr":
        constants["backwards"] = np.array([2, 1, 0], np.int64)
        steps[0].output[0] = f"{_NAME}/rgb"
        gather = helper.make_node(
            "Gather", [f"{_NAME}/rgb", f"{_NAME}/backwards"], [f"{_NAME}/planes"], axis=1
        )
        steps.insert(1, gather)
    for name, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(value, f"{_NAME}/{name}"))
    nodes = [*steps, *graph.node]
    inputs = [image, *(value for value in graph.input if value.name != normalised.name)]
    rest = onnx.GraphProto()
    rest.node.extend(nodes)
    rest.input.extend(inputs)
    graph.ClearField("node")
    graph.ClearField("input")
    graph.node.extend(rest.node)
    graph.input.extend(rest.input)
