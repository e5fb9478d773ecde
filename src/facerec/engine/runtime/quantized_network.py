"""Makes an int8 network of a float32 one and the ranges of its activations.

Every convolution and matrix product gets whole numbers: activations in 256 steps of their range (one scale a
tensor, uint8, affine), weights in 255 symmetric steps of the largest one (a scale for each output channel,
int8), as B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", 2018, propose. Before that, channels are balanced where it costs nothing (see
`facerec.engine.runtime.channel_balance`). The network says so in ONNX's own words (`QuantizeLinear`,
`DequantizeLinear`), so that every runtime that has integer arithmetic uses it, and any other computes the
same in float32.

x86 processors without VNNI add the products of two neighbouring input channels in 16 bits. For them a
channel's weights have fewer steps where two neighbours would come to more than fits: nothing overflows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx.version_converter
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from facerec.engine.runtime.channel_balance import balance_channels
from facerec.engine.runtime.tensor_range import Range
from facerec.errors import PackError

_OPSET = 13
"""The first version of ONNX's operators in which weights can have a scale for each channel."""
_WEIGHTED = ("Conv", "Gemm", "MatMul")
_LARGE_KERNEL = 7
_STEPS = 255
_MOST_WEIGHT = 127
_MOST_PAIR = 126.5
"""Most steps that two neighbouring weights of one sign may come to before they are rounded: rounded, each by
less than one, they are 128 at most, and 128 products with 255 are below 2^15."""
_NEVER_ZERO = 1e-12
"""Least scale of a channel whose weights are all zero."""
_SCALES = np.linspace(1, 1.25, 64, dtype=np.float32)
"""Times the finest scale that a depthwise kernel's may be."""
_ALIKE = 0.95
"""How far neighbouring pixels of a channel are taken to be equal."""


def quantize_network(
    model: onnx.ModelProto, ranges: Mapping[str, Range], *, short_sums: bool = False
) -> onnx.ModelProto:
    """The network with int8 arithmetic. `model` is used up: it may be changed, or be what is returned.

    ranges: of each tensor of `quantized_tensors(model)`, by name. A tensor that is always zero stays float32.
    short_sums: the processor adds products in 16 bits, two at a time (`Int8Products.IN_16_BITS`).

    Outputs stay float32: nothing is rounded after the last product. Raises PackError when nothing can be
    quantised, or when a tensor has no range, or one that is not finite.
    """
    changed = _current(model)
    tensors = quantized_tensors(changed)
    if not tensors:
        raise PackError("the network can not be quantised: it has no convolution or matrix product")
    missing = [name for name in tensors if name not in ranges]
    if missing:
        raise PackError(
            f"the activation ranges are not this network's: {len(missing)} of its {len(tensors)} tensors "
            f"have none, such as {missing[0]!r}"
        )
    balanced = balance_channels(changed, {name: ranges[name] for name in tensors})
    graph = _Rewriting(changed.graph, short_sums)
    for name in tensors:
        graph.quantize(name, *balanced[name])
    graph.write()
    return changed


def quantized_tensors(model: onnx.ModelProto) -> tuple[str, ...]:
    """The tensors that int8 arithmetic needs the range of: what goes into convolutions and matrix products,
    and into sums of two tensors (the residual connections), which would be taken back to float32 otherwise.
    """
    constants = {weight.name for weight in model.graph.initializer}
    constants |= {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
    found: dict[str, None] = {}
    for node in model.graph.node:
        if _is_rounded(node) and node.input[1] in constants and node.input[0] not in constants:
            found[node.input[0]] = None
        elif node.op_type == "Add" and not constants & set(node.input):
            found.update(dict.fromkeys(node.input))
    return tuple(found)


def _current(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in a version of the operators that knows quantised weights, with its constants as weights."""
    changed = model
    versions = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    if not versions or versions[0] < _OPSET:
        try:
            changed = onnx.version_converter.convert_version(changed, _OPSET)
        except Exception as error:  # the converter's errors have no other class in common
            raise PackError(
                f"the network can not be quantised: its operators are of version {versions}, and can not be "
                f"brought to version {_OPSET}: {error}"
            ) from error
    nodes = []
    for node in changed.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            weight = changed.graph.initializer.add()
            weight.CopyFrom(node.attribute[0].t)
            weight.name = node.output[0]
        else:
            nodes.append(node)
    _replace_nodes(changed.graph, nodes)
    return changed


@dataclass(slots=True, eq=False)
class _Rewriting:
    """A graph in the course of being quantised."""

    graph: onnx.GraphProto
    short_sums: bool
    weights: dict[str, onnx.TensorProto] = field(init=False)
    rounded: dict[str, str] = field(init=False, default_factory=dict)
    """Tensor to the name of its values after rounding."""
    parameters: dict[str, NDArray[np.generic]] = field(init=False, default_factory=dict)
    """New constants by name."""

    def __post_init__(self) -> None:
        """Index the weights."""
        self.weights = {weight.name: weight for weight in self.graph.initializer}

    def quantize(self, tensor: str, least: float, greatest: float) -> None:
        """Round a tensor to 256 steps between two bounds, of which zero, the padding's value, is one."""
        low, high = min(least, 0.0), max(greatest, 0.0)
        if not (np.isfinite(low) and np.isfinite(high)):
            raise PackError(f"the range of the activation {tensor!r} is not finite: {least} to {greatest}")
        scale = (high - low) / _STEPS
        if scale < _NEVER_ZERO:
            return
        self.parameters[f"{tensor}/scale"] = np.array(scale, np.float32)
        self.parameters[f"{tensor}/zero"] = np.array(np.clip(np.round(-low / scale), 0, _STEPS), np.uint8)
        self.rounded[tensor] = f"{tensor}/rounded"

    def write(self) -> None:
        """Put everything into the graph."""
        nodes: list[onnx.NodeProto] = []
        for value in self.graph.input:
            nodes.extend(self._rounding(value.name))
        for node in self.graph.node:
            nodes.extend(self._with_rounded_inputs(node))
            for output in node.output:
                nodes.extend(self._rounding(output))
        _replace_nodes(self.graph, nodes)
        used = {name for node in nodes for name in node.input}
        kept = [weight for weight in self.graph.initializer if weight.name in used]
        kept += [numpy_helper.from_array(value, name) for name, value in self.parameters.items()]
        content = onnx.GraphProto()
        content.initializer.extend(kept)
        self.graph.ClearField("initializer")
        self.graph.initializer.extend(content.initializer)
        # Shapes and types were those of the network before.
        self.graph.ClearField("value_info")

    def _rounding(self, tensor: str) -> Iterator[onnx.NodeProto]:
        """The two operations that round a tensor."""
        if tensor in self.rounded:
            steps, scale, zero = f"{tensor}/steps", f"{tensor}/scale", f"{tensor}/zero"
            yield helper.make_node("QuantizeLinear", [tensor, scale, zero], [steps])
            yield helper.make_node("DequantizeLinear", [steps, scale, zero], [self.rounded[tensor]])

    def _with_rounded_inputs(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """The operation on rounded tensors and weights, where it computes in int8; as it is otherwise."""
        weighted = _is_rounded(node) and node.input[1] in self.weights
        if weighted and node.input[0] in self.rounded:
            name = node.input[1]
            if f"{name}/scale" not in self.parameters:
                yield self._rounded_weights(name, _output_axis(node))
            node.input[0] = self.rounded[node.input[0]]
            node.input[1] = f"{name}/rounded"
        elif node.op_type == "Add" and all(name in self.rounded for name in node.input):
            for position, name in enumerate(node.input):
                node.input[position] = self.rounded[name]
        yield node

    def _rounded_weights(self, name: str, axis: int) -> onnx.NodeProto:
        """Put the weights into the graph as int8, and give the operation that scales them back."""
        values = numpy_helper.to_array(self.weights[name]).astype(np.float32)
        others = tuple(each for each in range(values.ndim) if each != axis)
        scale = np.abs(values).max(axis=others) / _MOST_WEIGHT
        if self.short_sums:
            scale = np.maximum(scale, _largest_pair(np.moveaxis(values, axis, 0)) / _MOST_PAIR)
        scale = np.maximum(scale, _NEVER_ZERO)
        if axis == 0 and values.ndim == 4 and values.shape[1] == 1:
            scale = _best_scales(values, scale)
        self.parameters[f"{name}/steps"] = _whole_steps(values / np.expand_dims(scale, others))
        self.parameters[f"{name}/scale"] = scale.astype(np.float32)
        self.parameters[f"{name}/zero"] = np.zeros(scale.shape, np.int8)
        return helper.make_node(
            "DequantizeLinear",
            [f"{name}/steps", f"{name}/scale", f"{name}/zero"],
            [f"{name}/rounded"],
            axis=axis,
        )


def _whole_steps(weights: NDArray[np.float32]) -> NDArray[np.int8]:
    """Weights given in steps, (outputs, inputs, ...), as whole numbers: each kernel keeps its sum, to half a
    step.

    The pixels that a kernel weighs are nearly equal in most of a picture; there the sum of its errors is what
    counts. What a kernel that looks for edges (large weights of both signs) gives in a dark picture is little
    more than that sum: rounded each to the nearest, such weights drowned faint faces. So what one weight is
    too little or too much, the next makes good.
    """
    kernels = weights.reshape(*weights.shape[:2], -1)
    sums = np.round(np.cumsum(kernels, axis=2))
    steps = np.diff(sums, axis=2, prepend=0).clip(-_MOST_WEIGHT, _MOST_WEIGHT)
    return steps.reshape(weights.shape).astype(np.int8)


def _best_scales(kernels: NDArray[np.float32], finest: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scales, (channels,), near the finest ones by which depthwise kernels lose least.

    kernels: (channels, 1, height, width). With so few weights that share a scale, one that fits them can be
    found.
    """
    tried = _SCALES[:, None] * finest
    steps = tried[:, :, None, None, None]
    errors = (_whole_steps(kernels / steps) * steps - kernels).reshape(*tried.shape, -1)
    costs = _ALIKE * errors.sum(axis=2) ** 2 + (1 - _ALIKE) * (errors**2).sum(axis=2)
    best: NDArray[np.float32] = tried[costs.argmin(axis=0), np.arange(len(finest))]
    return best


def _largest_pair(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """For each output channel, (outputs,), the most that the weights of two neighbouring inputs of one sign
    come to.

    weights: (outputs, inputs, ...), the inputs those of one group. Neighbours are inputs 0 and 1, 2 and 3 and
    so on, as OpenVINO (oneDNN) and ONNX Runtime lay them out: four in 32 bits.
    """
    outputs, inputs = weights.shape[:2]
    even = np.pad(weights.reshape(outputs, inputs, -1), ((0, 0), (0, inputs % 2), (0, 0)))
    signs = np.stack([even, -even]).clip(0)
    sums: NDArray[np.float32] = (signs[:, :, 0::2] + signs[:, :, 1::2]).max(axis=(0, 2, 3))
    return sums


def _is_rounded(node: onnx.NodeProto) -> bool:
    """Whether an operation is one that int8 arithmetic pays for.

    The large depthwise convolution at the end of a MobileFaceNet weighs each channel's pixels into one
    number. It takes a hundredth of the time, and rounding there makes half of the whole error.
    """
    if node.op_type != "Conv":
        return node.op_type in _WEIGHTED
    groups = max((each.i for each in node.attribute if each.name == "group"), default=1)
    sides = max((max(each.ints) for each in node.attribute if each.name == "kernel_shape"), default=1)
    return groups == 1 or sides < _LARGE_KERNEL


def _output_axis(node: onnx.NodeProto) -> int:
    """The axis of an operation's weights along which its output channels lie."""
    if node.op_type == "Conv":
        return 0
    transposed = any(each.name == "transB" and each.i for each in node.attribute)
    return 0 if transposed else 1


def _replace_nodes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """Make these the graph's operations; they may be its own ones."""
    content = onnx.GraphProto()
    content.node.extend(nodes)
    graph.ClearField("node")
    graph.node.extend(content.node)
