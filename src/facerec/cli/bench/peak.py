"""How many multiply-adds a second one processor of this machine reaches at best, and bytes that it reads."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from facerec.engine.runtime.session import open_session

ROWS, WIDTH, LAYERS = 1024, 512, 8
"""The reference: as many products of (ROWS, WIDTH) by (WIDTH, WIDTH), one after the other. A layer's
matrices fit into the second-level cache, and copying the last is a hundredth of the work.
"""
MULTIPLY_ADDS = LAYERS * ROWS * WIDTH * WIDTH
READ_BYTES = 256 << 20
"""More than the caches hold."""
SEED = 0


class PeakKernel:
    """Matrix products in the runtime that runs the networks: nothing that a network does is faster."""

    def __init__(self, precision: str, *, runtime: str = "auto") -> None:
        """precision: "f32" or "int8" (unsigned activations, signed weights, as quantised networks have
        them). Raises ConfigurationError where the runtime is missing.
        """
        self._session = open_session(_products(precision).SerializeToString(), runtime=runtime, threads=1)
        self._input = np.random.default_rng(SEED).standard_normal((ROWS, WIDTH), dtype=np.float32)
        self.run()

    def run(self) -> None:
        """Do MULTIPLY_ADDS on one processor."""
        self._session.run(self._input)

    def rate(self, runs: int = 25) -> float:
        """Multiply-adds a second of the fastest of some runs."""
        return MULTIPLY_ADDS / min(_seconds(self.run) for _ in range(runs))


def read_rate(runs: int = 5) -> float:
    """Bytes a second that one processor reads from memory, the fastest of some runs."""
    numbers = np.ones(READ_BYTES // 8, np.int64)  # zeros would all be one page
    return READ_BYTES / min(_seconds(numbers.max) for _ in range(runs))


def _seconds(work: Callable[[], object]) -> float:
    """Of processor time, so that what else the machine does adds nothing."""
    began = time.process_time()
    work()
    return time.process_time() - began


def _products(precision: str) -> onnx.ModelProto:
    """The chain of products as an ONNX network. Raises ValueError for an unknown precision."""
    if precision not in ("f32", "int8"):
        raise ValueError(f"a peak is measured in f32 or int8, not {precision!r}")
    random = np.random.default_rng(SEED)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def constant(name: str, value: NDArray[np.generic]) -> str:
        weights.append(numpy_helper.from_array(value, name))
        return name

    def node(kind: str, inputs: list[str], output: str) -> str:
        nodes.append(helper.make_node(kind, inputs, [output]))
        return output

    scale, zero = constant("scale", np.array(0.03, np.float32)), constant("zero", np.array(128, np.uint8))
    step = constant("step", np.full(WIDTH, 3 / 127 * WIDTH**-0.5, np.float32))
    none = constant("none", np.zeros(WIDTH, np.int8))
    current = "input"
    for layer in range(LAYERS):
        # Weights that keep the variance of their input, so that every layer works in the same range.
        matrix = random.standard_normal((WIDTH, WIDTH), dtype=np.float32)
        if precision == "f32":
            right = constant(f"w{layer}", matrix * np.float32(WIDTH**-0.5))
        else:
            coded = constant(f"w{layer}", np.clip(np.rint(matrix * 127 / 3), -127, 127).astype(np.int8))
            current = node("QuantizeLinear", [current, scale, zero], f"q{layer}")
            current = node("DequantizeLinear", [current, scale, zero], f"d{layer}")
            nodes.append(helper.make_node("DequantizeLinear", [coded, step, none], [f"m{layer}"], axis=1))
            right = f"m{layer}"
        current = node("MatMul", [current, right], f"p{layer}")
    shape = [ROWS, WIDTH]
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(current, TensorProto.FLOAT, shape)],
        weights if precision == "int8" else [each for each in weights if each.name.startswith("w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
