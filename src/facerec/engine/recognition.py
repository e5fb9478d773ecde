"""Recognisers: networks that turn an aligned face into an embedding."""

from __future__ import annotations

import numpy as np

from facerec.engine.base import Floats, Pixels, Session
from facerec.errors import ConfigurationError, PackError


def batch_shape(size: int) -> tuple[int | None, ...]:
    """Input shape to open a recogniser's file with, so that it takes batches; many declare a batch of 1."""
    return (None, 3, size, size)


class OnnxRecognizer:
    """A recogniser for square crops with channels first: the ArcFace family, SFace, dlib's ResNet."""

    def __init__(self, session: Session, *, colour: str, mean: float, std: float) -> None:
        """Prepare a recogniser.

        session: best opened with `batch_shape`; one with a fixed batch works, the crops are split or padded.
        colour: the order of the channels that the network takes, "rgb" or "bgr". A channel's value v (0..255)
        goes in as (v - mean) / std.

        Raises PackError when the network does not make one embedding of each crop, ConfigurationError for an
        unknown colour or an std of 0.
        """
        if colour not in ("rgb", "bgr"):
            raise ConfigurationError(f"a recogniser's colour is rgb or bgr, not {colour!r}")
        if std == 0:
            raise ConfigurationError("a recogniser's std divides its input; it can not be 0")
        shape = session.input_shape
        if len(shape) != 4 or shape[1] != 3 or shape[2] is None or shape[2] != shape[3]:
            raise PackError(f"a recogniser takes inputs of the shape (N, 3, size, size), not {shape}")
        self._session = session
        self._backwards = colour == "bgr"
        self._normalised = ((np.arange(256) - mean) / std).astype(np.float32)
        self._batch = shape[0]
        self.size: int = shape[2]
        """Side of the crops in pixels."""
        self.dimension = self._measure()

    def embed(self, crops: Pixels) -> Floats:
        """Embeddings (N, dimension) float32, not normalised, of crops (N, size, size, 3) uint8 RGB."""
        if not len(crops):
            return np.empty((0, self.dimension), np.float32)
        channels = crops[..., ::-1] if self._backwards else crops
        tensor = self._normalised[channels.transpose(0, 3, 1, 2)]
        if self._batch is None:
            return self._run(tensor)
        missing = -len(tensor) % self._batch
        padded = np.concatenate([tensor, np.zeros((missing, *tensor.shape[1:]), np.float32)])
        parts = [self._run(padded[at : at + self._batch]) for at in range(0, len(padded), self._batch)]
        return np.concatenate(parts)[: len(tensor)]

    def _measure(self) -> int:
        """Length of an embedding, from a run on two black crops, which shows too whether batches work."""
        trial = np.zeros((self._batch or 2, 3, self.size, self.size), np.float32)
        return int(self._run(trial).shape[1])

    def _run(self, tensor: Floats) -> Floats:
        """One run; raises PackError when there is not one embedding for each crop."""
        output = self._session.run(tensor)[0]
        if output.ndim < 2 or len(output) != len(tensor):
            raise PackError(
                f"a recogniser makes one embedding of each crop; of {len(tensor)} crops this network makes "
                f"an output of the shape {output.shape}"
            )
        return output.reshape(len(output), -1)
