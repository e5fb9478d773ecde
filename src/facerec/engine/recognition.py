"""Recognisers: networks that turn an aligned face into an embedding."""

from __future__ import annotations

import numpy as np

from facerec.engine.base import Floats, Pixels, Session
from facerec.errors import PackError


def batch_shape(size: int, batch: int | None = None) -> tuple[int | None, ...]:
    """Input shape to open a recogniser's file with; many declare a batch of 1.

    batch: crops that one run takes, None for any number. On a processor a run of one is best: compiled for
    any number, MobileFaceNet in int8 takes 2.2 ms a crop instead of 1.4, and four crops in one run only
    0.1 ms less each than four runs.
    """
    return (batch, 3, size, size)


class OnnxRecognizer:
    """A recogniser for square crops with channels first: the ArcFace family, SFace, dlib's ResNet."""

    def __init__(self, session: Session) -> None:
        """Prepare a recogniser.

        session: opened with a `PixelInput`, and best with `batch_shape`; one with a fixed batch works, the
        crops are split or padded.

        Raises PackError when the network does not make one embedding of each crop.
        """
        shape = session.input_shape
        if len(shape) != 4 or shape[1] != 3 or shape[2] is None or shape[2] != shape[3]:
            raise PackError(f"a recogniser takes inputs of the shape (N, 3, size, size), not {shape}")
        self._session = session
        self._batch = shape[0]
        self.size: int = shape[2]
        """Side of the crops in pixels."""
        self.dimension = self._measure()

    def embed(self, crops: Pixels) -> Floats:
        """Embeddings (N, dimension) float32, not normalised, of crops (N, size, size, 3) uint8 RGB."""
        if not len(crops):
            return np.empty((0, self.dimension), np.float32)
        if self._batch in (None, len(crops)):
            return self._run(crops)
        missing = -len(crops) % self._batch
        padded = np.concatenate([crops, np.zeros((missing, *crops.shape[1:]), np.uint8)])
        parts = [self._run(padded[at : at + self._batch]) for at in range(0, len(padded), self._batch)]
        return np.concatenate(parts)[: len(crops)]

    def _measure(self) -> int:
        """Length of an embedding, from a run on two black crops, which shows too whether batches work."""
        trial = np.zeros((self._batch or 2, self.size, self.size, 3), np.uint8)
        return int(self._run(trial).shape[1])

    def _run(self, crops: Pixels) -> Floats:
        """One run; raises PackError when there is not one embedding for each crop."""
        output = self._session.run(crops)[0]
        if output.ndim < 2 or len(output) != len(crops):
            raise PackError(
                f"a recogniser makes one embedding of each crop; of {len(crops)} crops this network makes "
                f"an output of the shape {output.shape}"
            )
        return output.reshape(len(output), -1)
