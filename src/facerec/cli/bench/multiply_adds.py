"""How many multiplications with an addition a network does: what bounds its speed from below."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

from facerec.errors import PackError

Shape = tuple[int, ...]


def multiply_adds(network: bytes | Path, input_shape: Shape) -> int:
    """Multiply-adds of one run of an ONNX network, given as its bytes or its file, on an input of that shape.

    Convolutions, transposed ones and matrix products are counted, which is nearly all that a network for
    faces does; padding counts as work, for runtimes do it. OpenVINO works out the shapes inside. Raises
    PackError where the network can not be read or can not take the shape.
    """
    core = importlib.import_module("openvino").Core()
    try:
        model = core.read_model(network)
        model.reshape({model.inputs[0]: list(input_shape)})
        return sum(_of_operator(operator) for operator in model.get_ordered_ops())
    except RuntimeError as error:
        raise PackError(f"the network can not take inputs of the shape {input_shape}: {error}") from error


def _of_operator(operator: Any) -> int:
    """Multiply-adds of one operator: the numbers it makes (or, transposed, takes) by those behind each."""
    kind = operator.get_type_name()
    if kind not in ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul"):
        return 0
    data: Shape = tuple(operator.get_input_shape(0))
    weights: Shape = tuple(operator.get_input_shape(1))
    made: int = math.prod(operator.get_output_shape(0))
    if kind == "Convolution":  # weights: outputs, inputs, height, width
        return made * math.prod(weights[1:])
    if kind == "GroupConvolution":  # groups, outputs of a group, inputs of a group, height, width
        return made * math.prod(weights[2:])
    if kind == "ConvolutionBackpropData":  # inputs, outputs, height, width
        return math.prod(data) * math.prod(weights[1:])
    return made * data[-2 if operator.get_attributes()["transpose_a"] else -1]
