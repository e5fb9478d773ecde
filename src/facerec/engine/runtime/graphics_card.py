"""Networks on an NVIDIA graphics card, through ONNX Runtime's CUDA or TensorRT.

A card is fast with many faces in one run and slow to get ready for a shape it has not seen, so batches are
filled up to a few sizes. What is missing for a card to be used is told by name: driver, card, package or
libraries.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerec.engine.base import Floats, Session
from facerec.errors import ConfigurationError

CUDA = "cuda"
TENSORRT = "tensorrt"
CARD_RUNTIMES = (CUDA, TENSORRT)
PACKAGE = "onnxruntime-gpu"

_PROVIDERS = {CUDA: "CUDAExecutionProvider", TENSORRT: "TensorrtExecutionProvider"}
_LIBRARIES = {
    CUDA: "CUDA and cuDNN (pip install 'facerec[gpu]' brings them)",
    TENSORRT: "TensorRT (pip install tensorrt brings it)",
}
_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_NAME_BYTES = 256
_INSTEAD = "or set FACEREC_RUNTIME=openvino to run on the processor"


def card_is_usable() -> bool:
    """Whether there is a card, and the package for it; its libraries show when a network is opened."""
    try:
        card_name()
    except ConfigurationError:
        return False
    return True


def card_name() -> str:
    """Name of the first card. Raises ConfigurationError that says what is missing."""
    try:
        importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigurationError(
            f"no graphics card can be used: {PACKAGE} is not installed; pip uninstall onnxruntime, then "
            f"pip install 'facerec[gpu]', {_INSTEAD}"
        ) from error
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError as error:
        raise ConfigurationError(
            f"no graphics card can be used: NVIDIA's driver ({_DRIVER}) is not installed, or not given to "
            f"this container: docker run --gpus all; {_INSTEAD}"
        ) from error
    count, device = ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    failed = (
        driver.cuInit(0)
        or driver.cuDeviceGetCount(ctypes.byref(count))
        or driver.cuDeviceGet(ctypes.byref(device), 0)
        or driver.cuDeviceGetName(name, _NAME_BYTES, device)
    )
    if failed:
        raise ConfigurationError(
            f"no graphics card can be used: NVIDIA's driver finds none (error {failed} of cuInit or "
            f"cuDeviceGet; {count.value} cards), {_INSTEAD}"
        )
    return name.value.decode(errors="replace")


def open_on_card(
    onnxruntime: ModuleType, content: bytes, options: Any, runtime: str, cache: Path | None
) -> Any:
    """ONNX Runtime's session of a network (its bytes) on the card.

    runtime: "cuda" or "tensorrt"; what TensorRT does not know, CUDA runs.
    cache: folder in which TensorRT keeps what it has built, which takes it minutes for each size of an input.

    Raises ConfigurationError when there is no card, or its libraries can not be loaded.
    """
    card = card_name()
    # Libraries that pip has installed lie where the system does not look.
    onnxruntime.preload_dlls()
    wanted = _PROVIDERS[runtime]
    # By default CUDA tries out every way to compute a convolution, for each new size of a picture.
    providers: list[Any] = [(_PROVIDERS[CUDA], {"cudnn_conv_algo_search": "HEURISTIC"})]
    if runtime == TENSORRT:
        kept = {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(cache)} if cache else {}
        providers.insert(0, (wanted, kept))
    session = onnxruntime.InferenceSession(content, options, providers=providers)
    # Where a provider can not be loaded, ONNX Runtime goes on with the processor.
    if wanted not in session.get_providers():
        raise ConfigurationError(
            f"FACEREC_RUNTIME is {runtime} and there is a card ({card}), but ONNX Runtime can not load "
            f"{_LIBRARIES[runtime]}; install it, {_INSTEAD}"
        )
    return session


class FilledBatches:
    """A network whose batches are filled up to powers of two, so that a card sees few shapes.

    Implements `facerec.engine.base.Session`; its outputs are those of the session inside, for what was given.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.input_names = session.input_names
        self.output_names = session.output_names
        self.input_shape = session.input_shape

    def run(self, *inputs: NDArray[np.generic]) -> list[Floats]:
        """Run once; the first dimension of each input is the batch. Raises PackError as the session does."""
        count = len(inputs[0])
        missing = (1 << (count - 1).bit_length()) - count if count else 0
        if not missing:
            return self._session.run(*inputs)
        filled = [
            np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)]) for array in inputs
        ]
        return [output[:count] for output in self._session.run(*filled)]
