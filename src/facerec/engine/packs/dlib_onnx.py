"""Writes dlib's networks as ONNX: mean, division by 256 and affine layers folded into convolutions.

The same network always gives the same bytes, so that two machines agree on a network's digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from facerec.engine.packs.dlib_format import (
    AddPrevious,
    Affine,
    Convolution,
    FullyConnected,
    Layer,
    Network,
    Pool,
    Relu,
    Tag,
)
from facerec.errors import PackError

Shape = list[str | int]
"""Sizes of a tensor; a name where a size varies."""

_OPSET = 17
_IR_VERSION = 8
"""What the runtimes of the last years read; fixed, so that the bytes do not depend on onnx's version."""
_DIVISOR = 256
_CHANNELS = 3


def recognizer_to_onnx(network: Network, *, mirrored: bool) -> bytes:
    """The recognition network as ONNX.

    Input "pixels" (N, 3, rows, columns) float32, RGB 0..255, any N; output "embedding" (N, D) float32, not
    normalised. With `mirrored`, an embedding is the mean of the crop's and its mirror image's: twice the
    work, and steadier. Raises PackError when the network is none of this form.
    """
    if network.image.size is None:
        raise PackError("the recognition network takes no image of a fixed size")
    writer = _Writer("pixels", network.image.size)
    if mirrored:
        writer.add_mirror_images()
    writer.add_all(_folded(network))
    if mirrored:
        writer.add_mean_of_halves()
    shape: Shape = ["batch", _CHANNELS, *network.image.size]
    return writer.finish(shape, "embedding", ["batch", writer.value.channels])


def detector_to_onnx(network: Network) -> bytes:
    """The detector as ONNX.

    Input "canvas" (1, 3, rows, columns) float32, RGB 0..255, any size; output "scores" (1, 1, rows / 8,
    columns / 8) float32, a little less at the edges. Raises PackError when the network is none of this form.
    """
    writer = _Writer("canvas", None)
    writer.add_all(_folded(network))
    if writer.value.channels != 1:
        raise PackError(f"the detector gives {writer.value.channels} maps of scores where one was expected")
    return writer.finish([1, _CHANNELS, "rows", "columns"], "scores", [1, 1, "score_rows", "score_columns"])


def _folded(network: Network) -> list[Layer]:
    """The layers, with the input's mean and divisor and the affine layers folded into convolutions."""
    layers: list[Layer] = []
    for layer in network.layers:
        previous = layers[-1] if layers else None
        if isinstance(layer, Affine):
            if not isinstance(previous, Convolution) or len(layer.gain) != len(previous.filters):
                raise PackError("an affine layer of the network does not follow a convolution of its width")
            gain, offset = layer.gain.astype(np.float64), layer.offset.astype(np.float64)
            layers[-1] = _convolution(
                previous, previous.filters * gain[:, None, None, None], previous.biases * gain + offset
            )
        elif not layers:
            layers.append(_with_input(layer, network.image.means))
        else:
            layers.append(layer)
    return layers


def _with_input(layer: Layer, means: tuple[float, float, float]) -> Layer:
    """The first convolution made to take plain pixels: (x - mean) / 256 is linear, and nothing is padded."""
    if not isinstance(layer, Convolution) or layer.padding != (0, 0) or layer.filters.shape[1] != _CHANNELS:
        raise PackError("the network does not begin with a convolution of RGB pixels without padding")
    filters = layer.filters.astype(np.float64) / _DIVISOR
    return _convolution(
        layer, filters, layer.biases - (filters.sum(axis=(2, 3)) * np.array(means)).sum(axis=1)
    )


def _convolution(old: Convolution, filters: NDArray[np.float64], biases: NDArray[np.float64]) -> Convolution:
    """The convolution with other weights, rounded once to float32."""
    return Convolution(filters.astype(np.float32), biases.astype(np.float32), old.stride, old.padding)


@dataclass(frozen=True, slots=True)
class _Value:
    """A value in the graph. size: rows and columns, None where they vary or there are none."""

    name: str
    channels: int
    size: tuple[int, int] | None


class _Writer:
    """Follows a network's layers from the input on and collects nodes and weights."""

    def __init__(self, source: str, size: tuple[int, int] | None) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._source = source
        self.value = _Value(source, _CHANNELS, size)
        self._block_input = self._remembered = self.value

    def add_all(self, layers: list[Layer]) -> None:
        """Add the layers in order.

        A lone tag starts a residual block and remembers the block's input for the sum at its end. Of two in a
        row, the first remembers the branch so far instead and the second goes back to the block's input.
        """
        tags = [isinstance(layer, Tag) for layer in layers]
        for i, layer in enumerate(layers):
            if not tags[i]:
                self._add(layer)
            elif i > 0 and tags[i - 1]:
                self.value = self._block_input
            elif i + 1 < len(layers) and tags[i + 1]:
                self._remembered = self.value
            else:
                self._block_input = self._remembered = self.value

    def add_mirror_images(self) -> None:
        """Append every image's mirror image, left for right, to the batch."""
        first, beyond = np.array([-1]), np.array([np.iinfo(np.int64).min])
        parts = [("starts", first), ("ends", beyond), ("axes", np.array([3])), ("steps", np.array([-1]))]
        source = self.value
        mirrored = self._node("Slice", [self._weight(*part) for part in parts], source.channels, source.size)
        self.value = self._node("Concat", [mirrored.name], source.channels, source.size, axis=0)

    def add_mean_of_halves(self) -> None:
        """The mean of each embedding of the batch's first half with its like of the second."""
        channels = self.value.channels
        shape = self._weight("shape", np.array([2, -1, channels]))
        self.value = self._node("Reshape", [shape], channels, None)
        self.value = self._node("ReduceMean", [], channels, None, axes=[0], keepdims=0)

    def finish(self, source_shape: Shape, target: str, target_shape: Shape) -> bytes:
        """The model's bytes; the last value becomes the output `target`."""
        self._nodes[-1].output[0] = target
        graph = helper.make_graph(
            self._nodes,
            "dlib",
            [helper.make_tensor_value_info(self._source, TensorProto.FLOAT, source_shape)],
            [helper.make_tensor_value_info(target, TensorProto.FLOAT, target_shape)],
            self._weights,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
        )
        model.producer_name = "facerec"
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))

    def _add(self, layer: Layer) -> None:
        if isinstance(layer, Convolution):
            self._add_convolution(layer)
        elif isinstance(layer, Relu):
            self.value = self._node("Relu", [], self.value.channels, self.value.size)
        elif isinstance(layer, Pool):
            self._add_pool(layer)
        elif isinstance(layer, AddPrevious):
            self._add_sum()
        elif isinstance(layer, FullyConnected):
            self._add_fully_connected(layer)
        else:
            raise PackError(f"a {type(layer).__name__} layer where none can be")

    def _add_convolution(self, layer: Convolution) -> None:
        channels, inputs, *window = layer.filters.shape
        if inputs != self.value.channels:
            raise PackError(f"a convolution of {inputs} channels gets {self.value.channels}")
        size = self._strided((window[0], window[1]), layer.stride, layer.padding)
        weights = [self._weight("filters", layer.filters), self._weight("biases", layer.biases)]
        pads = [*layer.padding, *layer.padding]
        self.value = self._node(
            "Conv", weights, channels, size, kernel_shape=window, strides=list(layer.stride), pads=pads
        )

    def _add_pool(self, layer: Pool) -> None:
        if layer.window == (0, 0):
            kind = "GlobalMaxPool" if layer.kind == "max" else "GlobalAveragePool"
            self.value = self._node(kind, [], self.value.channels, (1, 1))
            return
        size = self._strided(layer.window, layer.stride, (0, 0))
        kind = "MaxPool" if layer.kind == "max" else "AveragePool"
        window, stride = list(layer.window), list(layer.stride)
        self.value = self._node(kind, [], self.value.channels, size, kernel_shape=window, strides=stride)

    def _add_sum(self) -> None:
        """dlib adds values of different size as if the missing channels, rows and columns were zero."""
        here, other = self.value, self._remembered
        if here.size is None or other.size is None:
            raise PackError("a sum in a network whose input has no fixed size")
        channels = max(here.channels, other.channels)
        size = (max(here.size[0], other.size[0]), max(here.size[1], other.size[1]))
        names = [self._padded(value, channels, size) for value in (here, other)]
        self.value = _Value(names[0], channels, size)
        self.value = self._node("Add", names[1:], channels, size)

    def _padded(self, value: _Value, channels: int, size: tuple[int, int]) -> str:
        """Name of the value with zeros after its last channel, row and column."""
        if value.size is None or (value.channels, value.size) == (channels, size):
            return value.name
        missing = [0, channels - value.channels, size[0] - value.size[0], size[1] - value.size[1]]
        self.value = value
        return self._node(
            "Pad", [self._weight("pads", np.array([0, 0, 0, 0, *missing]))], channels, size
        ).name

    def _add_fully_connected(self, layer: FullyConnected) -> None:
        inputs, outputs = layer.weights.shape
        if self.value.size is None or inputs != self.value.channels * self.value.size[0] * self.value.size[1]:
            raise PackError(f"a fully connected layer of {inputs} inputs gets {self.value}")
        self.value = self._node("Flatten", [], inputs, None)
        self.value = self._node("MatMul", [self._weight("weights", layer.weights)], outputs, None)

    def _strided(
        self, window: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
    ) -> tuple[int, int] | None:
        """Rows and columns after a window has moved over the value."""
        if self.value.size is None:
            return None
        rows, columns = (
            (n + 2 * p - k) // s + 1
            for n, p, k, s in zip(self.value.size, padding, window, stride, strict=True)
        )
        if min(rows, columns) < 1:
            raise PackError(f"a window of {window} is larger than the {self.value.size} it moves over")
        return rows, columns

    def _weight(self, what: str, array: NDArray[np.float32] | NDArray[np.int64]) -> str:
        name = f"{what}_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def _node(
        self, kind: str, more: list[str], channels: int, size: tuple[int, int] | None, **attributes: Any
    ) -> _Value:
        """Add a node over the current value; the current value stays what it was."""
        name = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, [self.value.name, *more], [name], name=name, **attributes))
        return _Value(name, channels, size)
