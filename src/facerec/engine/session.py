"""Opens networks in a runtime: OpenVINO on processors, ONNX Runtime on graphics cards and for comparison."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import threading
from collections import deque
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from facerec.engine.base import Floats, Session
from facerec.engine.reshaping import InputShape, input_shape, reshape_input
from facerec.errors import ConfigurationError, PackError

_INSTALL = {"openvino": "pip install openvino", "onnxruntime": "pip install onnxruntime"}
_importing = threading.Lock()


def open_session(
    model: bytes | Path,
    *,
    runtime: str,
    threads: int,
    parallel: int = 1,
    input_shape: InputShape | None = None,
) -> Session:
    """Load an ONNX network, given as its bytes or its file.

    runtime: "openvino", "onnxruntime", or "auto": OpenVINO where it is installed, else ONNX Runtime.
    threads: processors that one run may use.
    parallel: runs that may go on at a time, each with its own `threads`; OpenVINO lets more wait.
    input_shape: shape that the first input shall have, None for a dimension that varies from run to run; by
    default the shape that the file declares. `(None, 3, 112, 112)` lets a recogniser run batches,
    `(1, 3, None, None)` lets a detector look at any size. The results at the declared shape do not change.

    Networks run in float32, whatever faster and coarser formats a processor has, so that embeddings made on
    two machines can be compared.

    Raises PackError when the file is missing, damaged or can not take the shape, ConfigurationError when the
    runtime is not installed or unknown, or `threads` or `parallel` is less than 1.
    """
    if threads < 1 or parallel < 1:
        raise ConfigurationError(
            f"a network needs at least 1 thread and 1 run at a time, not {threads} and {parallel}"
        )
    chosen = _choose(runtime)
    name = str(model) if isinstance(model, Path) else "the network"
    content = _read(model, name)
    network = _parse(content, name)
    if input_shape is not None:
        try:
            changed = reshape_input(network, input_shape)
        except PackError as error:
            raise PackError(f"{name}: {error.message}") from error
        if changed is not network:
            content, network = changed.SerializeToString(), changed
    shape = _declared(network, name)
    try:
        if chosen == "openvino":
            return _OpenVinoSession(name, content, shape, threads, parallel)
        return _OnnxRuntimeSession(name, content, shape, threads)
    except Exception as error:  # the errors of the two runtimes have no other class in common
        raise PackError(f"{name} can not be loaded by {chosen}: {error}") from error


class _OpenVinoSession:
    """A network compiled by OpenVINO for this machine's processor.

    As many runs as `parallel` go on at a time, one more waits. Each thread that runs borrows an infer request
    of its own.
    """

    def __init__(self, name: str, content: bytes, shape: InputShape, threads: int, parallel: int) -> None:
        openvino = _import("openvino")
        core = openvino.Core()
        options = {
            "INFERENCE_NUM_THREADS": threads * parallel,
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": parallel,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._name = name
        self._compiled = core.compile_model(core.read_model(content), "CPU", options)
        self._idle: deque[Any] = deque()
        self.input_names = tuple(port.get_any_name() for port in self._compiled.inputs)
        self.output_names = tuple(port.get_any_name() for port in self._compiled.outputs)
        self.input_shape = shape

    def run(self, *inputs: NDArray[np.generic]) -> list[Floats]:
        """Run once; the outputs are copies, for the request's own memory is used again by the next run.

        Raises PackError when the network does not take the inputs.
        """
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        try:
            outputs = request.infer([np.ascontiguousarray(array) for array in inputs], share_inputs=True)
            return [np.array(outputs[port], np.float32) for port in range(len(self.output_names))]
        except RuntimeError as error:
            raise _refused(self._name, inputs, error) from error
        finally:
            self._idle.append(request)


class _OnnxRuntimeSession:
    """A network loaded by ONNX Runtime: on a graphics card where it can use one, else on the processor."""

    def __init__(self, name: str, content: bytes, shape: InputShape, threads: int) -> None:
        onnxruntime = _import("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Spinning threads would take the processors from the decoding of the next image.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        available = onnxruntime.get_available_providers()
        providers = [each for each in ("CUDAExecutionProvider", "CPUExecutionProvider") if each in available]
        self._name = name
        self._session = onnxruntime.InferenceSession(content, options, providers=providers)
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


def _choose(runtime: str) -> str:
    """The runtime to use, known to be installed."""
    if runtime == "auto":
        for name in _INSTALL:
            if importlib.util.find_spec(name) is not None:
                return name
        raise ConfigurationError(f"no runtime for networks is installed: {' or '.join(_INSTALL.values())}")
    if runtime not in _INSTALL:
        raise ConfigurationError(f"the runtime {runtime!r} is unknown: use openvino, onnxruntime or auto")
    if importlib.util.find_spec(runtime) is None:
        raise ConfigurationError(f"the runtime {runtime} is not installed: {_INSTALL[runtime]}")
    return runtime


def _import(name: str) -> ModuleType:
    """Import a runtime with its telemetry off; importing alone would already report this machine.

    OpenVINO's lies in a package of its own, which it treats as optional: that one is hidden meanwhile.
    ONNX Runtime's obeys an environment variable that it reads when it is loaded.
    """
    with _importing:
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        reporter = "openvino_telemetry"
        if name != "openvino" or name in sys.modules or reporter in sys.modules:
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


def _declared(network: onnx.ModelProto, name: str) -> InputShape:
    """Shape of the network's first input."""
    try:
        return input_shape(network)
    except PackError as error:
        raise PackError(f"{name}: {error.message}") from error
