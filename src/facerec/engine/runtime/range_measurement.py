"""Measures the ranges of a network's activations while it works as it always does.

`RecordingSession` answers as the network does, and notes the least and the greatest value of each tensor, or
of each of its channels, that quantising needs. So a pack's own detector and recogniser, given pictures, see
exactly what they see in service.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, helper

from facerec.engine.base import Floats, Session
from facerec.engine.runtime.channel_balance import balanced_tensors
from facerec.engine.runtime.pixel_input import PixelInput
from facerec.engine.runtime.quantized_network import quantized_tensors
from facerec.engine.runtime.reshaping import InputShape, first_input
from facerec.engine.runtime.session import open_session
from facerec.engine.runtime.tensor_range import Bound, Range
from facerec.errors import PackError

_OUTLIERS = 0.01
"""Share of the runs whose extremes are cut off: a range that takes in every outlier makes all steps coarse.

Measured with MobileFaceNet on LFW; see docs/decisions/0006-int8-from-activation-ranges.md.
"""


class RecordingSession:
    """A network that notes the ranges of its activations; implements `facerec.engine.base.Session`."""

    def __init__(
        self,
        file: Path,
        *,
        runtime: str,
        threads: int,
        parallel: int = 1,
        input_shape: InputShape | None = None,
        pixels: PixelInput | None = None,
    ) -> None:
        """Open a network; see `open_session`. Raises PackError when nothing in it can be quantised."""
        network = _load(file)
        self._input = first_input(network).name
        self._pixels = pixels
        self._outputs = len(network.graph.output)
        tensors = quantized_tensors(network)
        if not tensors:
            raise PackError(f"{file} can not be quantised: it has no convolution or matrix product")
        outputs = {output.name for output in network.graph.output}
        self._recorded = [name for name in tensors if name not in outputs and name != self._input]
        self._tensors = tensors
        self._by_channel = frozenset(balanced_tensors(network))
        for name in self._recorded:
            network.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        self._session: Session = open_session(
            network.SerializeToString(),
            runtime=runtime,
            threads=threads,
            parallel=parallel,
            input_shape=input_shape,
            pixels=pixels,
        )
        self._lock = threading.Lock()
        self._lows: dict[str, list[Floats]] = {name: [] for name in tensors}
        self._highs: dict[str, list[Floats]] = {name: [] for name in tensors}
        self.input_names = self._session.input_names
        self.output_names = self._session.output_names[: self._outputs]
        self.input_shape = self._session.input_shape

    def run(self, *inputs: NDArray[np.generic]) -> list[Floats]:
        """Run once, and note the ranges; the outputs are those of the network itself."""
        values = dict(zip(self._session.output_names, self._session.run(*inputs), strict=True))
        seen = {name: value for name, value in values.items() if name in self._lows and value.size}
        if self._pixels is None:
            seen[self._input] = np.asarray(inputs[0], np.float32)
        with self._lock:
            for name, value in seen.items():
                if name in self._by_channel:
                    others = (0, *range(2, value.ndim))
                    # Zero is in the range of every channel anyway: most then have the same least value.
                    self._lows[name].append(value.min(axis=others, initial=0))
                    self._highs[name].append(value.max(axis=others, initial=0))
                elif name in self._lows:
                    self._lows[name].append(value.min())
                    self._highs[name].append(value.max())
        return [values[name] for name in self.output_names]

    def forget(self) -> None:
        """Forget the ranges seen so far."""
        with self._lock:
            for seen in (*self._lows.values(), *self._highs.values()):
                seen.clear()

    @property
    def runs(self) -> int:
        """How often the network has run."""
        return max(map(len, self._lows.values()))

    def ranges(self) -> dict[str, Range]:
        """The ranges seen, less the outliers. Raises PackError when there was no run, or a value that is not
        finite."""
        found: dict[str, Range] = {}
        for name in self._tensors:
            if name == self._input and self._pixels is not None:
                ends = [(value - self._pixels.mean) / self._pixels.std for value in (0, 255)]
                found[name] = min(ends), max(ends)
                continue
            lows, highs = self._lows[name], self._highs[name]
            if not lows or not np.isfinite(np.array([*lows, *highs])).all():
                state = "gave numbers that are not finite" if lows else "never ran"
                raise PackError(f"the ranges of {name!r} can not be told: the network {state}")
            found[name] = _trimmed(lows, highs)
        return found


def _trimmed(lows: Sequence[Floats], highs: Sequence[Floats]) -> Range:
    """The range that all runs but the outliers stay in."""
    return (
        _bound(np.quantile(np.array(lows), _OUTLIERS, axis=0)),
        _bound(np.quantile(np.array(highs), 1 - _OUTLIERS, axis=0)),
    )


def _bound(values: NDArray[np.floating]) -> Bound:
    """One number where there is one, or all channels have the same; else theirs, (channels,)."""
    if (values == values.flat[0]).all():
        return float(values.flat[0])
    return tuple(values.tolist())


def _load(file: Path) -> onnx.ModelProto:
    """The network of a file."""
    try:
        return onnx.load(file, load_external_data=False)
    except (DecodeError, OSError) as error:
        raise PackError(f"{file} is damaged or no ONNX file: {error}") from error
