"""Opens networks in a runtime: OpenVINO on processors, ONNX Runtime on graphics cards and for comparison."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import logging
import math
import os
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from facerec.engine.base import Floats, Session
from facerec.engine.runtime.compiled_forms import CompiledForms, Form
from facerec.engine.runtime.graphics_card import (
    CARD_RUNTIMES,
    CUDA,
    TENSORRT,
    FilledBatches,
    card_is_usable,
    open_on_card,
)
from facerec.engine.runtime.pixel_input import PixelInput, take_pixels
from facerec.engine.runtime.processor import Int8Products, int8_products
from facerec.engine.runtime.quantized_network import quantize_network
from facerec.engine.runtime.reshaping import InputShape, reshape_input
from facerec.engine.runtime.reshaping import input_shape as declared_shape
from facerec.engine.runtime.tensor_range import Range
from facerec.errors import ConfigurationError, PackError

OPENVINO = "openvino"
ONNXRUNTIME = "onnxruntime"
_INSTALL = {OPENVINO: "pip install openvino", ONNXRUNTIME: "pip install onnxruntime"}
_importing = threading.Lock()
_log = logging.getLogger(__name__)

F32 = "f32"
BF16 = "bf16"
INT8 = "int8"
PRECISIONS = (F32, BF16, INT8)

_OFTEN = 8
"""Runs at one size after which OpenVINO compiles a network for it."""
_MOST_COMPILED = 16
"""Most times that a network is compiled for sizes, over all its copies; each takes memory for all its
layers."""
_LARGEST_COPIED = 32 * 2**20
"""Most bytes of a network of which there is a copy for each run that goes on at a time."""
_LARGEST_INPUT = 3 * 640 * 640
"""Most numbers in an input that a network is compiled for, for the same reason."""
_MOST_COUNTED = 1000
"""Sizes counted before the count begins anew, so that it can not grow without end."""


def on_graphics_card(runtime: str) -> bool:
    """Whether networks opened with this runtime run on a graphics card.

    Raises ConfigurationError when the runtime is not installed or unknown.
    """
    return choose_runtime(runtime) in CARD_RUNTIMES


def open_session(
    model: bytes | Path,
    *,
    runtime: str,
    threads: int,
    parallel: int = 1,
    input_shape: InputShape | None = None,
    pixels: PixelInput | None = None,
    precision: str = F32,
    ranges: Mapping[str, Range] | None = None,
    forms: CompiledForms | None = None,
) -> Session:
    """Load an ONNX network, given as its bytes or its file.

    runtime: see `choose_runtime`.
    threads: processors that one run may use.
    parallel: runs that may go on at a time, each with its own `threads`; OpenVINO lets more wait.
    input_shape: shape that the first input shall have, None for a dimension that varies from run to run; by
    default the shape that the file declares. `(None, 3, 112, 112)` lets a recogniser run batches,
    `(1, 3, None, None)` lets a detector look at any size. The results at the declared shape do not change.

    pixels: what the network takes of an image. With it the session takes images (N, height, width, 3) uint8
    RGB; `input_shape` is still that of the network's own input, channels first.
    precision: "f32"; "bf16", which computes products in bfloat16 where the processor has them, and in float32
    elsewhere; or "int8", which needs `ranges` (see `facerec.engine.runtime.quantized_network`).
    forms: where the forms that OpenVINO compiles of the network are kept; those that are there are used.

    Raises PackError when the file is missing, damaged, can not take the shape or can not be quantised,
    ConfigurationError when the runtime is not installed or unknown, a graphics card is asked for and can not
    be used, the precision is unknown or without its ranges, or `threads` or `parallel` is less than 1.
    """
    if threads < 1 or parallel < 1:
        raise ConfigurationError(
            f"a network needs at least 1 thread and 1 run at a time, not {threads} and {parallel}"
        )
    if precision not in PRECISIONS or (precision == INT8 and ranges is None):
        raise ConfigurationError(
            f"a network's precision is one of {', '.join(PRECISIONS)}, int8 with the ranges of its "
            f"activations; not {precision!r}"
        )
    chosen = choose_runtime(runtime)
    source = _Source(model, input_shape, pixels, precision, ranges, forms.digest if forms else None)
    try:
        if chosen == OPENVINO:
            return _OpenVinoSession(source, threads, parallel, forms)
        content, shape = source.network()
        cache = model.parent / TENSORRT if isinstance(model, Path) else None
        session = _OnnxRuntimeSession(source.name, content, shape, threads, chosen, cache)
        return FilledBatches(session) if chosen in CARD_RUNTIMES and shape[0] is None else session
    except (ConfigurationError, PackError):
        raise
    except Exception as error:  # the errors of the two runtimes have no other class in common
        raise PackError(f"{source.name} can not be loaded by {chosen}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Source:
    """A network's file or bytes, and what is made of it before a runtime gets it; see `open_session`."""

    model: bytes | Path
    input_shape: InputShape | None
    pixels: PixelInput | None
    precision: str
    ranges: Mapping[str, Range] | None
    digest: str | None
    """SHA-256 of the file, where what is made of it is kept under that."""

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.model) if isinstance(self.model, Path) else "the network"

    def network(self) -> tuple[bytes, InputShape]:
        """The network that a runtime is given, and the shape of its first input. Raises PackError."""
        # Large networks are hundreds of megabytes: nothing here holds one twice for longer than it must.
        content = _read(self.model, self.name)
        if self.digest is not None and hashlib.sha256(content).hexdigest() != self.digest:
            raise PackError(f"{self.name} was replaced by another file while it was in use: start anew")
        network = _parse(content, self.name)
        del content
        try:
            if self.input_shape is not None:
                network = reshape_input(network, self.input_shape)
            shape = declared_shape(network)
            if self.pixels is not None:
                take_pixels(network, self.pixels)
            if self.precision == INT8 and self.ranges is not None:
                short_sums = int8_products() is Int8Products.IN_16_BITS
                network = quantize_network(network, self.ranges, short_sums=short_sums)
        except PackError as error:
            raise PackError(f"{self.name}: {error.message}") from error
        return network.SerializeToString(), shape


class _OpenVinoSession:
    """A network compiled by OpenVINO for this machine's processor.

    As many runs as `parallel` go on at a time, each in its caller's thread; others wait for their turn. Each
    has a copy of the network of its own: two callers of two copies are twice as fast as one, of one copy with
    two streams 1.5 times. Of networks so large that copies would take much memory there is one.

    Where height and width may vary, as a detector's do, a network compiled for any size spends a fifth of its
    time on plans for the next size (SCRFD-500M at 384 and 160 pixels in turn: 8.9 ms, compiled for each size
    6.5 ms). So the first sizes that come often are compiled for themselves, in a quarter of a second each, by
    a thread for which no run waits.
    """

    def __init__(self, source: _Source, threads: int, parallel: int, forms: CompiledForms | None) -> None:
        openvino = import_runtime(OPENVINO)
        self._source = source
        self._forms = forms
        self._threads = threads
        self._core = openvino.Core()
        self._tensor = openvino.Tensor
        self._made_for = {
            "input_shape": source.input_shape,
            "parallel": parallel,
            "pixels": source.pixels,
            "precision": source.precision,
            "ranges": source.ranges,
            "runtime": f"openvino {openvino.get_version()}",
            "threads": threads,
        }
        self._model: Any = None
        opened = self._kept() or self._make(parallel)
        self.input_names = tuple(port.get_any_name() for port in opened.network.inputs)
        self.output_names = tuple(port.get_any_name() for port in opened.network.outputs)
        self.input_shape = shape = opened.input_shape
        self._seats: SimpleQueue[_Seat] = SimpleQueue()
        self._seats.put(_Seat(opened.network.create_infer_request()))
        for _ in range(parallel - 1):
            copy = self._rebuild(opened.built, 1) if opened.streams == 1 else opened.network
            self._seats.put(_Seat(copy.create_infer_request()))
        sizes_vary = len(self.input_names) == 1 and len(shape) == 4 and None in shape[2:]
        self._specialises = opened.streams == 1 and sizes_vary
        if not self._specialises:
            self._model = None
        self._most_shapes = max(_MOST_COMPILED // parallel, 1)
        self._built: dict[tuple[int, ...], bytes] = {}
        self._times_seen: Counter[tuple[int, ...]] = Counter()
        self._counting = threading.Lock()
        self._building = threading.Lock()  # one network at a time: it takes all of a processor

    def run(self, *inputs: NDArray[np.generic]) -> list[Floats]:
        """Run once; the outputs are copies, for the runtime's own memory is used again by the next run.

        Raises PackError when the network does not take the inputs.
        """
        seat = self._seats.get()
        try:
            return self._run(self._request(seat, inputs[0].shape), inputs)
        except RuntimeError as error:
            raise _refused(self._source.name, inputs, error) from error
        finally:
            self._seats.put(seat)

    def _run(self, request: Any, inputs: tuple[NDArray[np.generic], ...]) -> list[Floats]:
        # The request reads the arrays where they lie, so they are held until it is done. OpenVINO takes
        # memory that it might write to, though it does not.
        held = [np.require(array, requirements=("C", "W")) for array in inputs]
        for position, array in enumerate(held):
            request.set_input_tensor(position, self._tensor(array, shared_memory=True))
        request.infer()
        outputs = range(len(self.output_names))
        return [np.array(request.get_output_tensor(position).data, np.float32) for position in outputs]

    def _request(self, seat: _Seat, shape: tuple[int, ...]) -> Any:
        """What runs inputs of this shape: compiled for it, where it has come often enough."""
        special = seat.of_shape.get(shape)
        if special is not None or not self._specialises:
            return special or seat.of_any_shape
        if self._is_due(shape):
            threading.Thread(target=self._build, args=(shape,), name="compiling").start()
        built = self._built.get(shape)
        if not built:
            return seat.of_any_shape
        seat.of_shape[shape] = self._rebuild(built, 1).create_infer_request()
        return seat.of_shape[shape]

    def _is_due(self, shape: tuple[int, ...]) -> bool:
        """Count an input of this shape; whether the network is to be compiled for it now."""
        with self._counting:
            if shape in self._built or len(self._built) >= self._most_shapes:
                return False
            if math.prod(shape) > _LARGEST_INPUT:
                return False
            if len(self._times_seen) > _MOST_COUNTED:
                self._times_seen.clear()
            self._times_seen[shape] += 1
            if self._times_seen[shape] <= _OFTEN:
                return False
            self._built[shape] = b""  # being compiled
            return True

    def _build(self, shape: tuple[int, ...]) -> None:
        """Compile the network for a shape. Where it can not be, it goes on to run as for any shape."""
        try:
            with self._building:
                kept = self._forms.read(**self._made_for, shape=shape) if self._forms else None
                self._built[shape] = self._make_for(shape) if kept is None else kept.content
        except (PackError, RuntimeError) as error:
            _log.warning("%s is not compiled for inputs of the shape %s: %s", self._source.name, shape, error)

    def _make_for(self, shape: tuple[int, ...]) -> bytes:
        """Compile the network for a shape, and keep what comes of it."""
        if self._model is None:
            self._model = self._core.read_model(self._source.network()[0])
        fixed = self._model.clone()
        fixed.reshape(list(shape))
        built: bytes = self._compile(fixed, 1).export_model().getvalue()
        if self._forms:
            self._forms.write(Form({}, built), **self._made_for, shape=shape)
        return built

    def _kept(self) -> _Opened | None:
        """The network as it was compiled before."""
        kept = self._forms.read(**self._made_for) if self._forms else None
        if kept is None:
            return None
        streams = kept.about["streams"]
        try:
            network = self._rebuild(kept.content, streams)
        except RuntimeError as error:
            _log.warning(
                "%s is compiled anew, for its kept form can not be used: %s", self._source.name, error
            )
            return None
        return _Opened(network, kept.content, tuple(kept.about["input_shape"]), streams)

    def _make(self, parallel: int) -> _Opened:
        """Compile the network, and keep what comes of it."""
        content, shape = self._source.network()
        streams = 1 if len(content) <= _LARGEST_COPIED else parallel
        self._model = self._core.read_model(content)
        network = self._compile(self._model, streams)
        built = network.export_model().getvalue() if self._forms or parallel > streams else b""
        if self._forms:
            self._forms.write(Form({"input_shape": shape, "streams": streams}, built), **self._made_for)
        return _Opened(network, built, shape, streams)

    def _compile(self, model: Any, streams: int) -> Any:
        return self._core.compile_model(model, "CPU", self._options(streams))

    def _rebuild(self, built: bytes, streams: int) -> Any:
        """A copy of a compiled network, in a seventh of the time that compiling takes."""
        return self._core.import_model(built, "CPU", self._options(streams))

    def _options(self, streams: int) -> dict[str, Any]:
        return {
            # Threads that keep to one processor wait for those of other networks there, while others idle.
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_NUM_THREADS": self._threads * streams,
            "INFERENCE_PRECISION_HINT": BF16 if self._source.precision == BF16 else F32,
            "NUM_STREAMS": streams,
            "PERFORMANCE_HINT": "LATENCY",
        }


@dataclass(frozen=True, slots=True)
class _Opened:
    """A network compiled for any input that it takes."""

    network: Any
    built: bytes
    """What copies are made of; empty where there is none to make."""
    input_shape: InputShape
    streams: int
    """Runs that go on at a time in one copy."""


@dataclass(slots=True)
class _Seat:
    """One of the runs that may go on at a time."""

    of_any_shape: Any
    of_shape: dict[tuple[int, ...], Any] = field(default_factory=dict)


class _OnnxRuntimeSession:
    """A network loaded by ONNX Runtime, on the processor or a graphics card."""

    def __init__(
        self, name: str, content: bytes, shape: InputShape, threads: int, runtime: str, cache: Path | None
    ) -> None:
        onnxruntime = import_runtime(ONNXRUNTIME)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Spinning threads would take the processors from the decoding of the next image.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._name = name
        if runtime in CARD_RUNTIMES:
            self._session = open_on_card(onnxruntime, content, options, runtime, cache)
        else:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.input_names = tuple(value.name for value in self._session.get_inputs())
        self.output_names = tuple(value.name for value in self._session.get_outputs())
        self.input_shape = shape

    def run(self, *inputs: NDArray[np.generic]) -> list[Floats]:
        """Run once; ONNX Runtime gives each run memory of its own.

        Raises PackError when the network does not take the inputs.
        """
        feeds = dict(zip(self.input_names, inputs, strict=True))
        try:
            return [np.asarray(output, np.float32) for output in self._session.run(None, feeds)]
        except Exception as error:  # ONNX Runtime's errors have no other class in common
            raise _refused(self._name, inputs, error) from error


def _refused(name: str, inputs: tuple[NDArray[np.generic], ...], error: Exception) -> PackError:
    """The error for a run that failed."""
    return PackError(f"{name} can not run on inputs of the shapes {[i.shape for i in inputs]}: {error}")


def choose_runtime(runtime: str) -> str:
    """The runtime to use, known to be installed.

    runtime: "openvino" or "onnxruntime" on the processor, "cuda" or "tensorrt" on an NVIDIA card, or "auto":
    CUDA where ONNX Runtime's package for it is installed and there is a card, else OpenVINO, else ONNX
    Runtime. Raises ConfigurationError when it is unknown or not installed.
    """
    if runtime in CARD_RUNTIMES:
        return runtime
    if runtime == "auto":
        if card_is_usable():
            return CUDA
        for name in _INSTALL:
            if importlib.util.find_spec(name) is not None:
                return name
        raise ConfigurationError(f"no runtime for networks is installed: {' or '.join(_INSTALL.values())}")
    if runtime not in _INSTALL:
        known = ", ".join([*_INSTALL, *CARD_RUNTIMES, "auto"])
        raise ConfigurationError(f"the runtime {runtime!r} is unknown: use one of {known}")
    if importlib.util.find_spec(runtime) is None:
        raise ConfigurationError(f"the runtime {runtime} is not installed: {_INSTALL[runtime]}")
    return runtime


def import_runtime(name: str) -> ModuleType:
    """Import a runtime with its telemetry off; importing alone would already report this machine.

    name: `OPENVINO` or `ONNXRUNTIME`.

    OpenVINO's lies in a package of its own, which it treats as optional: that one is hidden meanwhile.
    ONNX Runtime's obeys an environment variable that it reads when it is loaded.
    """
    with _importing:
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        reporter = "openvino_telemetry"
        if name != OPENVINO or name in sys.modules or reporter in sys.modules:
            return importlib.import_module(name)
        # None is how Python marks a module as absent.
        sys.modules[reporter] = None  # type: ignore[assignment]
        try:
            return importlib.import_module(name)
        finally:
            del sys.modules[reporter]


def _read(model: bytes | Path, name: str) -> bytes:
    """The network's bytes."""
    if isinstance(model, bytes):
        return model
    try:
        return model.read_bytes()
    except OSError as error:
        raise PackError(f"{name} can not be read: {error.strerror or error}") from error


def _parse(content: bytes, name: str) -> onnx.ModelProto:
    """The network as ONNX; checked as far as it takes to know that the file is whole."""
    try:
        network = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise PackError(f"{name} is damaged or no ONNX file: {error}") from error
    if not network.graph.node:
        raise PackError(f"{name} is damaged or no ONNX file: it holds no network")
    return network
