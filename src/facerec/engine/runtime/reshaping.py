"""Lets a network that was exported for one input size run at others.

Exporters freeze sizes in three places: the declared shape of the input, the batch of 1 in constant `Reshape`
targets, and the absolute sizes of `Resize`. All three are rewritten here, once, in the ONNX graph, so that
every runtime gets the same network. Weights are not touched, so results at the old size do not change.
Shapes are inferred without the weights' content: to hand 170 MB of them over takes seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, shape_inference

from facerec.errors import PackError

_MOST_SIZES = 1024
"""Numbers in a weight up to which it may be one that tells a shape, such as the target of a `Reshape`."""

InputShape = tuple[int | None, ...]
"""Shape of a network's first input; None where it may vary from run to run."""


def input_shape(model: onnx.ModelProto) -> InputShape:
    """Declared shape of the first input that is not a weight. Raises PackError when there is none."""
    return _dimensions(first_input(model))


def reshape_input(model: onnx.ModelProto, shape: InputShape) -> onnx.ModelProto:
    """The same network with another shape of its first input; `model` itself is left as it is.

    Only sizes change, so `shape` needs as many dimensions as the declared one. Raises PackError when the
    graph contradicts the new shape.
    """
    if input_shape(model) == shape:
        return model
    if len(input_shape(model)) != len(shape):
        raise PackError(f"the network's input has the shape {input_shape(model)}; {shape} was asked for")
    before = _known_shapes(model)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    constants = dict(_constants(changed.graph))
    for node in changed.graph.node:
        if node.op_type == "Reshape":
            _free_batch(changed.graph, node, constants, before)
        elif node.op_type == "Resize":
            _scale_relatively(changed.graph, node, constants, before)
    _declare(first_input(changed), shape)
    del changed.graph.value_info[:]
    for output in changed.graph.output:
        _declare(output, (None,) * len(_dimensions(output)))
    try:
        inferred = shape_inference.infer_shapes(_without_weights(changed), strict_mode=True).graph
    except shape_inference.InferenceError as error:
        raise PackError(f"the network can not take inputs of the shape {shape}: {error}") from error
    del changed.graph.output[:]
    changed.graph.output.extend(inferred.output)
    changed.graph.value_info.extend(inferred.value_info)
    return changed


def first_input(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    """The first input that is not a weight (files of the first ONNX versions list weights as inputs too)."""
    weights = {weight.name for weight in model.graph.initializer}
    inputs: list[onnx.ValueInfoProto] = [i for i in model.graph.input if i.name not in weights]
    if inputs:
        return inputs[0]
    raise PackError("the network has no input")


def _dimensions(value: onnx.ValueInfoProto) -> InputShape:
    """Declared dimensions, None for those with a name or nothing; exporters also write 0 or -1 for "any"."""
    declared = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in declared)


def _declare(value: onnx.ValueInfoProto, shape: InputShape) -> None:
    """Write dimensions into the declaration of a graph's input or output."""
    for position, (dimension, size) in enumerate(zip(value.type.tensor_type.shape.dim, shape, strict=True)):
        dimension.Clear()
        if size is None:
            dimension.dim_param = f"{value.name}_{position}"
        else:
            dimension.dim_value = size


def _known_shapes(model: onnx.ModelProto) -> dict[str, InputShape]:
    """Shape of every value of the graph as it was exported."""
    try:
        graph = shape_inference.infer_shapes(_without_weights(model), data_prop=True).graph
    except shape_inference.InferenceError as error:
        raise PackError(f"the network contradicts itself: {error}") from error
    return {value.name: _dimensions(value) for value in (*graph.input, *graph.value_info, *graph.output)}


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network with weights that have a shape and no content, but for those that may tell shapes."""
    bare = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    bare.functions.extend(model.functions)
    graph = model.graph
    for field in ("node", "input", "output", "value_info", "sparse_initializer"):
        getattr(bare.graph, field).extend(getattr(graph, field))
    for weight in graph.initializer:
        if math.prod(weight.dims) > _MOST_SIZES:
            bare.graph.initializer.add(name=weight.name, dims=weight.dims, data_type=weight.data_type)
        else:
            bare.graph.initializer.append(weight)
    return bare


def _constants(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Weights and `Constant` nodes by name."""
    for weight in graph.initializer:
        yield weight.name, weight
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            yield node.output[0], node.attribute[0].t


def _free_batch(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    constants: dict[str, onnx.TensorProto],
    shapes: dict[str, InputShape],
) -> None:
    """Turn the fixed batch of 1 of a `Reshape` target into "as the input" (0)."""
    if node.input[1] not in constants:
        return
    target = numpy_helper.to_array(constants[node.input[1]])
    source = shapes.get(node.input[0], ())
    if target.size > 1 and target[0] == 1 and source[:1] == (1,):
        node.input[1] = _add_constant(graph, f"{node.output[0]}_shape", np.array([0, *target[1:]], np.int64))


def _scale_relatively(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    constants: dict[str, onnx.TensorProto],
    shapes: dict[str, InputShape],
) -> None:
    """Turn the absolute sizes of a `Resize` into the scales that they were at the exported size."""
    if len(node.input) < 4 or node.input[3] not in constants:
        return
    sizes = numpy_helper.to_array(constants[node.input[3]])
    source = shapes.get(node.input[0], ())
    if len(source) != sizes.size or any(side is None for side in source):
        return
    scales = np.array([size / (side or 1) for size, side in zip(sizes, source, strict=True)], np.float32)
    node.input[2] = _add_constant(graph, f"{node.output[0]}_scales", scales)
    del node.input[3]


def _add_constant(graph: onnx.GraphProto, name: str, value: NDArray[np.generic]) -> str:
    """Add a constant under a name that the graph does not use yet."""
    graph.initializer.append(numpy_helper.from_array(value, f"facerec/{name}"))
    return f"facerec/{name}"
