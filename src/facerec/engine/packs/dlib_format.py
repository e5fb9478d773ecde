"""Reads dlib's `.dat` files without dlib: recognition network, face detector and shape predictor.

A file is read to its last byte; anything unexpected raises PackError with the position.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.engine.landmarks import MOST_SPLITS, ShapeForest
from facerec.engine.packs.dlib_reader import Reader

Array = NDArray[np.float32]

_MOST_LAYERS = 1000
_MOST_COORDINATES = 1000
_TAG, _WITH_PARAMETERS, _INNERMOST = 1, 2, 3
"""Versions of layers: a tag or skip layer, one with a block of parameters, the one next to the input."""
_MMOD_VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """A cross-correlation: filters (out, in, rows, columns), biases (out,); stride and padding are (y, x)."""

    filters: Array
    biases: Array
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """y = gain * x + offset, (channels,) each; a batch norm is read as the affine it is at inference."""

    gain: Array
    offset: Array


@dataclass(frozen=True, slots=True)
class Relu:
    """max(x, 0)."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Pooling with window and stride as (y, x), no padding; window (0, 0) is the whole plane."""

    kind: str
    """"max" or "avg"."""
    window: tuple[int, int]
    stride: tuple[int, int]


@dataclass(frozen=True, slots=True)
class AddPrevious:
    """Adds the value that the last tag remembers; the smaller of the two counts as padded with zeros."""


@dataclass(frozen=True, slots=True, eq=False)
class FullyConnected:
    """y = x @ weights, weights (inputs, outputs), without bias."""

    weights: Array


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag or skip layer: one alone starts a residual block, two in a row return to the block's input."""


Layer = Convolution | Affine | Relu | Pool | AddPrevious | FullyConnected | Tag


@dataclass(frozen=True, slots=True)
class InputImage:
    """An RGB input: network input = (pixel - mean) / 256."""

    means: tuple[float, float, float]
    """Red, green, blue."""
    size: tuple[int, int] | None
    """Rows and columns; None for the detector, which takes a tiled pyramid of any size."""


@dataclass(frozen=True, slots=True)
class MmodOptions:
    """How a detector's output is read: its window (width, height) and when boxes overlap."""

    window: tuple[int, int]
    overlap: float
    """Intersection divided by the area of the rectangle around both boxes."""


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Layers from the input to the output."""

    layers: tuple[Layer, ...]
    image: InputImage
    mmod: MmodOptions | None
    """None for a network that is no detector."""


def read_network(data: bytes, name: str) -> Network:
    """Read a network of the layers named above from the bytes of a `.dat` file; `name` appears in errors.

    Raises PackError when the file is damaged, has bytes left over, or holds another kind of layer.
    """
    reader = Reader(data, name)
    mmod = _read_loss(reader)
    versions = [reader.integer()]
    while versions[-1] != _INNERMOST:
        if versions[-1] not in (_TAG, _WITH_PARAMETERS) or len(versions) >= _MOST_LAYERS:
            raise reader.error(f"layer version {versions[-1]} is not 1, 2 or 3")
        versions.append(reader.integer())
    image = _read_input(reader)
    layers: list[Layer] = []
    for version in reversed(versions):
        if version == _TAG:
            layers.append(Tag())
            continue
        layers.append(_read_layer(reader))
        for _ in range(3):
            reader.boolean()  # set-up called, gradient stale, gradient disabled: of training alone
        for _ in range(3):
            reader.tensor()  # gradients and cached output: of training alone
        if version == _INNERMOST and reader.integer() != 1:
            raise reader.error("the input layer's expansion factor is not 1")
    reader.finish()
    return Network(tuple(layers), image, mmod)


def read_shape_predictor(data: bytes, name: str) -> ShapeForest:
    """Read a shape predictor from the bytes of a `.dat` file; `name` appears in errors.

    Raises PackError when the file is damaged, has bytes left over, or its trees are not complete and alike.
    """
    reader = Reader(data, name)
    reader.expect(1, "version of the shape predictor")
    coordinates = -reader.integer()
    reader.expect(-1, "columns of the initial shape")
    if not 2 <= coordinates <= _MOST_COORDINATES or coordinates % 2:
        raise reader.error(f"an initial shape of {coordinates} coordinates")
    initial = reader.floats(coordinates)
    cascades = reader.count("cascades")
    forests = [_read_trees(reader, coordinates) for _ in range(cascades)]
    reader.expect(cascades, "number of anchor lists")
    anchors = [reader.integers(reader.count("anchors")) for _ in range(cascades)]
    reader.expect(cascades, "number of offset lists")
    deltas = [reader.floats(2 * reader.count("offsets")).reshape(-1, 2) for _ in range(cascades)]
    reader.finish()
    points = coordinates // 2
    try:
        return ShapeForest(
            initial=initial.reshape(points, 2),
            anchors=np.stack(anchors).astype(np.int32),
            deltas=np.stack(deltas),
            first=np.stack([forest.first for forest in forests]),
            second=np.stack([forest.second for forest in forests]),
            thresholds=np.stack([forest.thresholds for forest in forests]),
            leaves=np.stack([forest.leaves for forest in forests]).reshape(
                cascades, *forests[0].leaves.shape[:2], points, 2
            ),
        )
    except ValueError as error:
        raise reader.error(f"cascades that do not fit together ({error})") from error


@dataclass(frozen=True, slots=True, eq=False)
class _Trees:
    """One cascade: first, second, thresholds (trees, splits); leaves (trees, splits + 1, coordinates)."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    thresholds: Array
    leaves: Array


def _read_trees(reader: Reader, coordinates: int) -> _Trees:
    """Read one cascade at a stroke: its trees are alike, so its integers form a table with one row a tree."""
    trees = reader.count("trees")
    splits = reader.peek()
    if not 1 <= splits <= MOST_SPLITS:
        raise reader.error(f"a tree of {splits} splits")
    leaf = 2 + 2 * coordinates
    width = 2 + 4 * splits + (splits + 1) * leaf
    table = reader.integers(trees * width).reshape(trees, width)
    inner = table[:, 1 : 1 + 4 * splits].reshape(trees, splits, 4)
    outer = table[:, 2 + 4 * splits :].reshape(trees, splits + 1, leaf)
    alike = (
        (table[:, 0] == splits).all()
        and (table[:, 1 + 4 * splits] == splits + 1).all()
        and (outer[..., 0] == -coordinates).all()
        and (outer[..., 1] == -1).all()
    )
    if not alike:
        raise reader.error("trees of different shapes")
    values = outer[..., 2:].reshape(trees, splits + 1, coordinates, 2)
    return _Trees(
        first=inner[..., 0].astype(np.int32),
        second=inner[..., 1].astype(np.int32),
        thresholds=reader.scaled(inner[..., 2], inner[..., 3]),
        leaves=reader.scaled(values[..., 0], values[..., 1]),
    )


def _read_loss(reader: Reader) -> MmodOptions | None:
    """Read the loss layer: the detector's options, or nothing that inference needs."""
    reader.expect(1, "version of the network")
    kind = reader.string()
    if kind == "loss_metric_2":
        reader.floats(2)  # margin and distance threshold of training
        return None
    if kind != "loss_mmod_":
        raise reader.error(f"a loss of kind {kind!r}; loss_metric_2 and loss_mmod_ are known")
    reader.expect(_MMOD_VERSION, "version of the detector's options")
    window = (reader.size("window width"), reader.size("window height"))
    reader.floats(3)  # weights of false alarms and missed faces, and the overlap of a match in training
    overlap, covered = (float(value) for value in reader.doubles(2))
    reader.doubles(2)  # what training ignores
    if not 0 < overlap < 1 or covered != 1:
        raise reader.error(f"overlaps of {overlap} and {covered}; the first is between 0 and 1, the second 1")
    return MmodOptions(window, overlap)


def _read_input(reader: Reader) -> InputImage:
    """Read the input layer, which is the network's only one without parameters blocks."""
    kind = reader.string()
    red, green, blue = (float(value) for value in reader.floats(3))
    if kind == "input_rgb_image_sized":
        return InputImage((red, green, blue), (reader.size("rows"), reader.size("columns")))
    if kind == "input_rgb_image_pyramid":
        return InputImage((red, green, blue), None)
    raise reader.error(
        f"an input of kind {kind!r}; input_rgb_image_sized and input_rgb_image_pyramid are known"
    )


def _read_layer(reader: Reader) -> Layer:
    """Read the details of one layer; the string in front of them names its kind."""
    kind = reader.string()
    if kind == "con_4":
        return _read_convolution(reader)
    if kind == "affine_":
        return _read_affine(reader)
    if kind == "bn_con2":
        return _read_batch_norm(reader)
    if kind == "relu_":
        return Relu()
    if kind == "add_prev_":
        return AddPrevious()
    if kind in ("max_pool_2", "avg_pool_2"):
        rows, columns, y, x = (reader.integer() for _ in range(4))
        reader.expect(0, "vertical padding of a pool")
        reader.expect(0, "horizontal padding of a pool")
        if min(rows, columns) < 0 or min(y, x) < 1:
            raise reader.error(f"a pool with window ({rows}, {columns}) and stride ({y}, {x})")
        return Pool("max" if kind == "max_pool_2" else "avg", (rows, columns), (y, x))
    if kind == "fc_2":
        return _read_fully_connected(reader)
    raise reader.error(f"a layer of kind {kind!r}, which this reader does not know")


def _read_convolution(reader: Reader) -> Convolution:
    parameters = reader.tensor().ravel()
    count, rows, columns, y, x = (
        reader.size(what)
        for what in ("filters", "filter rows", "filter columns", "vertical stride", "horizontal stride")
    )
    padding = (reader.integer(), reader.integer())
    shape = reader.alias()
    biases = reader.alias()
    reader.doubles(4)  # learning rates and weight decays of training
    split = int(np.prod(shape))
    if (
        (shape[0], *shape[2:]) != (count, rows, columns)
        or np.prod(biases) != count
        or len(parameters) != split + count
    ):
        raise reader.error(
            f"a convolution whose {len(parameters)} parameters do not fill filters of shape {shape}"
        )
    if min(padding) < 0:
        raise reader.error(f"a convolution with padding {padding}")
    return Convolution(parameters[:split].reshape(shape), parameters[split:], (y, x), padding)


def _read_affine(reader: Reader) -> Affine:
    parameters = reader.tensor().ravel()
    gain, offset = (int(np.prod(reader.alias())) for _ in range(2))
    reader.expect(0, "mode of an affine layer (0: per channel)")
    if gain != offset or len(parameters) != 2 * gain:
        raise reader.error(f"an affine layer of {len(parameters)} parameters for {gain} channels")
    return Affine(parameters[:gain], parameters[gain:])


def _read_batch_norm(reader: Reader) -> Affine:
    """Read a batch norm as the affine it is at inference: by the running statistics, not the last batch's."""
    parameters = reader.tensor().ravel().astype(np.float64)
    channels, offsets = (int(np.prod(reader.alias())) for _ in range(2))
    reader.tensor()  # means of the last batch
    reader.tensor()  # inverse deviations of the last batch
    means, variances = reader.tensor().ravel(), reader.tensor().ravel()
    reader.integers(2)  # updates and window of training
    reader.doubles(4)  # learning rates and weight decays of training
    epsilon = float(reader.doubles(1)[0])
    if (
        not channels == offsets == len(means) == len(variances)
        or len(parameters) != 2 * channels
        or epsilon <= 0
    ):
        raise reader.error(f"a batch norm of {len(parameters)} parameters for {channels} channels")
    if (variances < 0).any():
        raise reader.error("a variance below zero")
    gain = parameters[:channels] / np.sqrt(variances.astype(np.float64) + epsilon)
    offset = parameters[channels:] - gain * means
    return Affine(gain.astype(np.float32), offset.astype(np.float32))


def _read_fully_connected(reader: Reader) -> FullyConnected:
    outputs, inputs = reader.size("outputs"), reader.size("inputs")
    parameters = reader.tensor().ravel()
    reader.alias()
    reader.alias()
    reader.expect(1, "bias mode of a fully connected layer (1: none)")
    reader.doubles(4)  # learning rates and weight decays of training
    if len(parameters) != inputs * outputs:
        raise reader.error(f"a fully connected layer of {len(parameters)} weights from {inputs} to {outputs}")
    return FullyConnected(parameters.reshape(inputs, outputs))
