"""A model pack as large as the usual big one, with a recogniser of random weights, to measure speed.

    python benchmarks/engine/random_networks.py MODELS PACK

MODELS: a folder with scrfd_2.5g_bnkps.onnx, a real detector: how many faces are found decides how much there
is to embed. PACK: the folder to write. The recogniser is an IResNet-50 (He et al. 2016 with the blocks of
Duta et al. 2020, as ArcFace models are built): 112 x 112 pixels to 512 numbers, 43.6 million weights, 6.3
thousand million multiply-adds. The speed of a network does not depend on what its weights have learnt; its
answers mean nothing. The weights come from a fixed seed, so everybody measures the same file.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

DETECTOR = "scrfd_2.5g_bnkps.onnx"
RECOGNIZER = "iresnet50_random.onnx"
SEED = 50
SIDE = 112
DIMENSION = 512
STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))
"""Channels and blocks of each stage; the first block of a stage halves the sides."""
SLOPE = 0.25
"""Of PReLU below zero, where its training begins."""
OPSET = 13
IR_VERSION = 8

MANIFEST = f"""[pack]
name = "scrfd25_iresnet50_random"
model_version = "0.1"
licence = "random weights, to measure speed"
licence_url = ""

[detector]
kind = "scrfd"
file = "{DETECTOR}"
threshold = 0.5
nms = 0.4
sizes = [640, 160]

[alignment]
kind = "arcface"
size = {SIDE}

[recognizer]
kind = "onnx"
file = "{RECOGNIZER}"
colour = "rgb"
mean = 127.5
std = 127.5

[calibration]
knots = [[-1.0, 0.0], [0.0, 5.0], [0.3, 80.0], [0.5, 99.0], [1.0, 100.0]]
source = "estimated: random weights recognise nobody"
"""

Floats = NDArray[np.float32]


class _Graph:
    """Nodes and weights of a network as they are put in a row."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def convolution(self, source: str, inputs: int, outputs: int, *, side: int, stride: int) -> str:
        """A convolution that keeps the variance of its input, as one does with its batch norm folded in."""
        spread = (1 / (inputs * side * side)) ** 0.5
        kernel = self._random.normal(0, spread, (outputs, inputs, side, side))
        return self._add(
            "Conv",
            [source, self._weight(kernel), self._weight(self._random.normal(0, 0.05, outputs))],
            kernel_shape=[side, side],
            strides=[stride, stride],
            pads=[side // 2] * 4,
        )

    def prelu(self, source: str, channels: int) -> str:
        """PReLU with a slope for each channel."""
        slopes = self._random.normal(SLOPE, 0.05, (channels, 1, 1))
        return self._add("PRelu", [source, self._weight(slopes)])

    def norm(self, source: str, channels: int, variance: float) -> str:
        """Batch norm that takes inputs of a variance to about 1, with a little of its own in each channel."""
        parts = (
            self._random.normal(1, 0.1, channels),
            self._random.normal(0, 0.1, channels),
            np.zeros(channels),
            np.full(channels, variance),
        )
        return self._add("BatchNormalization", [source, *map(self._weight, parts)], epsilon=1e-5)

    def sum(self, left: str, right: str) -> str:
        """Both added."""
        return self._add("Add", [left, right])

    def embedding(self, source: str, inputs: int) -> str:
        """All numbers of the last stage to the embedding, and its batch norm."""
        flat = self._add("Flatten", [source], axis=1)
        matrix = self._random.normal(0, inputs**-0.5, (DIMENSION, inputs))
        bias = self._weight(self._random.normal(0, 0.05, DIMENSION))
        product = self._add("Gemm", [flat, self._weight(matrix), bias], transB=1)
        return self.norm(product, DIMENSION, 1.0)

    def _weight(self, values: NDArray[np.float64]) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def _add(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        output = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output


def iresnet50(seed: int = SEED, stages: Sequence[tuple[int, int]] = STAGES) -> onnx.ModelProto:
    """IResNet of random weights with ArcFace's layout: float32 (N, 3, 112, 112) to (N, 512).

    Batch norms that follow a convolution are folded into it, as exported files have them; those that begin
    a block stay.
    """
    graph = _Graph(seed)
    channels = stages[0][0]
    current = graph.prelu(graph.convolution("input.1", 3, channels, side=3, stride=1), channels)
    # What a PReLU leaves of a variance of 1, by its slope.
    variance = (1 + SLOPE**2) / 2
    for wide, blocks in stages:
        for block in range(blocks):
            stride = 2 if block == 0 else 1
            inside = graph.norm(current, channels, variance)
            inside = graph.prelu(graph.convolution(inside, channels, wide, side=3, stride=1), wide)
            inside = graph.convolution(inside, wide, wide, side=3, stride=stride)
            if block == 0:
                current = graph.convolution(current, channels, wide, side=1, stride=stride)
            current = graph.sum(inside, current)
            # The branch adds what its PReLU left of 1 to what came along the shortcut.
            variance += (1 + SLOPE**2) / 2
            channels = wide
    last = SIDE >> len(stages)
    output = graph.embedding(graph.norm(current, channels, variance), channels * last * last)
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            "iresnet50",
            [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", DIMENSION])],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="facerec benchmarks",
    )


def write_pack(models: Path, pack: Path) -> None:
    """Write the pack into a folder, over what an earlier run left there. Raises SystemExit where the detector
    is missing.
    """
    detector = models / DETECTOR
    if not detector.is_file():
        raise SystemExit(f"{detector} is not there; MODELS has to hold that SCRFD detector")
    pack.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(detector, pack / DETECTOR)
    network = iresnet50()
    onnx.checker.check_model(network, full_check=True)
    onnx.save(network, pack / RECOGNIZER)
    (pack / "pack.toml").write_text(MANIFEST)


def main() -> None:
    """Read the command line and write the pack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path)
    parser.add_argument("pack", type=Path)
    chosen = parser.parse_args()
    write_pack(chosen.models, chosen.pack)
    print(f"{chosen.pack} is written; measure it with: facerec bench engine --pack {chosen.pack} ...")


if __name__ == "__main__":
    main()
