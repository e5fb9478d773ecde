"""The engine without the service: how many requests a second its part of an operation allows."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from facerec.cli.bench.load import Operation
from facerec.config import Settings
from facerec.domain import EmbeddingContract


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the engine went."""

    per_second: float
    """Requests' worth of work."""
    processor_ms: float
    """Processor time of each."""


class BareEngine:
    """The engine's share of an operation, on pictures in turn, as many at a time as keep it busy."""

    def __init__(self, settings: Settings, operation: Operation) -> None:
        """Load the networks of the settings' pack. Raises PackError."""
        # The runtimes take a second to load; a command with a mistaken option should not.
        from facerec.engine.packs.loading import open_engine

        self._engine = open_engine(settings)
        self._operation = operation
        self._workers = settings.threads

    @property
    def contract(self) -> EmbeddingContract:
        """Of the engine's embeddings."""
        return self._engine.contract

    def measure(self, images: Sequence[bytes], seconds: float) -> Pace:
        """Work for so many seconds. Raises the errors of images."""
        numbers = itertools.count()
        with ThreadPoolExecutor(self._workers) as pool:
            began, processor = time.perf_counter(), time.process_time()
            deadline = began + seconds
            work = [pool.submit(self._work_until, deadline, images, numbers) for _ in range(self._workers)]
            done = sum(future.result() for future in work)
            taken = time.process_time() - processor
            return Pace(done / (time.perf_counter() - began), 1000 * taken / done)

    def close(self) -> None:
        """Free the networks."""
        self._engine.close()

    def _work_until(self, deadline: float, images: Sequence[bytes], numbers: Iterator[int]) -> int:
        """One worker: how often it did the work."""
        done = 0
        while not done or time.perf_counter() < deadline:
            place = next(numbers) % len(images)
            self._look(images[place])
            if self._operation is Operation.COMPARE_FACES:
                self._look(images[(place + 1) % len(images)])
            done += 1
        return done

    def _look(self, image: bytes) -> None:
        """Decode, detect, and embed those faces that the operation embeds."""
        picture = self._engine.decode(image)
        found = self._engine.detect(picture)
        if self._operation is Operation.SEARCH_FACES_BY_IMAGE:
            self._engine.embed(picture, found[:1])
        elif self._operation is not Operation.DETECT_FACES:
            self._engine.embed(picture, found)
