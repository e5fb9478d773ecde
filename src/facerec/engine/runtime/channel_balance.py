"""Lets every channel of a tensor use all 256 steps of int8, where that costs nothing.

A depthwise convolution takes each channel by itself, and its weights have a scale for each channel anyway. So
the convolution before it may give a channel times any factor, and its own weights of that channel be divided
by it: the network's answers stay the same. M. Nagel et al., "Data-Free Quantization Through Weight
Equalization and Bias Correction", 2019, weigh such factors between any two convolutions.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from facerec.engine.runtime.tensor_range import Range
from facerec.errors import PackError

_KEEPS_FACTORS = ("LeakyRelu", "PRelu", "Relu")
"""Activations that give a channel times a factor where they are given it so."""
_MOST_FACTOR = 4.0
"""Most times that a channel is enlarged: one that hardly showed while it was measured may be needed on other
pictures."""


def balanced_tensors(model: onnx.ModelProto) -> tuple[str, ...]:
    """The tensors that `balance_channels` can change: their ranges are wanted channel by channel."""
    return tuple(link.tensor for link in _links(model))


def balance_channels(model: onnx.ModelProto, ranges: Mapping[str, Range]) -> dict[str, tuple[float, float]]:
    """Change a network's weights so that the channels of a tensor reach equally far.

    model: with its constants as weights. ranges: by name of the tensor; one that is not given channel by
    channel, or can not be balanced, is left as it is.

    Gives the ranges of whole tensors in the changed network. Raises PackError for a tensor that has another
    number of channels.
    """
    found = {name: (np.array(low, float), np.array(high, float)) for name, (low, high) in ranges.items()}
    for link in _links(model):
        low, high = found.get(link.tensor, (np.zeros(()), np.zeros(())))
        reach = np.maximum(-low, high)
        if not reach.ndim or not reach.max() > 0:
            continue
        factors = reach.max() / np.maximum(reach, reach.max() / _MOST_FACTOR)
        link.multiply(model, factors)
        found[link.tensor] = low * factors, high * factors
    return {name: (float(low.min()), float(high.max())) for name, (low, high) in found.items()}


@dataclass(frozen=True, slots=True, eq=False)
class _Link:
    """A tensor between a convolution, which an activation may follow, and depthwise ones."""

    tensor: str
    before: onnx.NodeProto
    after: tuple[onnx.NodeProto, ...]

    def multiply(self, model: onnx.ModelProto, factors: NDArray[np.float64]) -> None:
        """Give each channel of the tensor times its factor, (channels,). Raises PackError for another number
        of channels."""
        weights = {weight.name: weight for weight in model.graph.initializer}
        changes = [(name, factors) for name in self.before.input[1:]]
        changes += [(node.input[1], 1 / factors) for node in self.after]
        for name, change in changes:
            values = numpy_helper.to_array(weights[name])
            if len(values) != len(factors):
                raise PackError(
                    f"the activation ranges are not this network's: they tell of {len(factors)} channels of "
                    f"{self.tensor!r}, which has {len(values)}"
                )
            changed = values * change.reshape(-1, *[1] * (values.ndim - 1))
            weights[name].CopyFrom(numpy_helper.from_array(changed.astype(values.dtype), name))


def _links(model: onnx.ModelProto) -> Iterator[_Link]:
    """The links of a network whose weights serve there alone."""
    shapes = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    shapes |= {
        name: tuple(node.attribute[0].t.dims)
        for name, node in makers.items()
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    takers: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            takers[name].append(node)
    uses = Counter({name: len(nodes) for name, nodes in takers.items()})
    uses.update(output.name for output in model.graph.output)
    for tensor, after in takers.items():
        before = makers.get(tensor)
        if before is not None and before.op_type in _KEEPS_FACTORS and uses[before.input[0]] == 1:
            before = makers.get(before.input[0])
        if before is None or before.op_type != "Conv" or uses[tensor] != len(after):
            continue
        weights = [*before.input[1:], *(name for node in after for name in node.input[1:2])]
        if all(_is_depthwise(node, shapes) for node in after) and all(
            name in shapes and uses[name] == 1 for name in weights
        ):
            yield _Link(tensor, before, tuple(after))


def _is_depthwise(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether an operation weighs each channel by itself into one."""
    if node.op_type != "Conv":
        return False
    groups = max((each.i for each in node.attribute if each.name == "group"), default=1)
    return shapes.get(node.input[1], ())[:2] == (groups, 1)
