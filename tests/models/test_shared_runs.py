"""The way that faces take on a graphics card, with the processor in the card's place: crops of all callers
in one run of ONNX Runtime, filled up to a few sizes.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facerec.config import Settings, read_settings
from facerec.engine.base import Engine, Floats, Session
from facerec.engine.packs.loading import load_pack, load_parts
from facerec.engine.packs.manifest import read_manifest
from facerec.engine.packs.networks import FixedNetworks
from facerec.engine.pipeline import Limits, PackEngine
from facerec.engine.recognition import OnnxRecognizer, batch_shape
from facerec.engine.runtime.graphics_card import FilledBatches
from facerec.engine.runtime.pixel_input import PixelInput
from facerec.engine.runtime.session import open_session

LIMITS = Limits(
    max_pixels=10**8, max_faces=100, max_batch=8, max_queue=64, max_decoded_bytes=1 << 28, workers=4
)


class Batches:
    """A session that notes how many crops each run has."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.input_names = session.input_names
        self.output_names = session.output_names
        self.input_shape = session.input_shape
        self.seen: list[int] = []

    def run(self, *inputs: NDArray[np.generic]) -> list[Floats]:
        self.seen.append(len(inputs[0]))
        return self._session.run(*inputs)


@contextmanager
def sharing(folder: Path, settings: Settings) -> Iterator[tuple[Engine, Batches]]:
    """The pack's engine as it is on a card, and what its recogniser is given."""
    manifest = read_manifest(folder)
    spec, size = manifest.recognizer, manifest.alignment.size
    batches = Batches(
        open_session(
            spec.file,
            runtime="onnxruntime",
            threads=2,
            input_shape=batch_shape(size),
            pixels=PixelInput(spec.colour, mean=spec.mean, std=spec.std),
        )
    )
    parts = load_parts(manifest, settings, FixedNetworks(settings, {}))
    recognizer = OnnxRecognizer(FilledBatches(batches))
    engine = PackEngine(replace(parts, recognizer=recognizer, shares_runs=True), LIMITS)
    batches.seen.clear()
    try:
        yield engine, batches
    finally:
        engine.close()


@pytest.mark.parametrize("pack", ["scrfd", "dlib"])
def test_faces_of_many_callers_share_runs(
    pack: str, shared: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    settings = read_settings(runtime="onnxruntime", precision="f32", threads=2, data_dir=tmp_path)
    if pack == "scrfd":
        folder: Path = request.getfixturevalue("scrfd_pack")
    else:
        from facerec.engine.packs import dlib

        folder = dlib.prepare(tmp_path)
    images = [path.read_bytes() for path in sorted((shared / "data" / "lfw" / "images").glob("*.jpg"))[:12]]

    def work(engine: Engine, data: bytes) -> Floats:
        picture = engine.decode(data)
        return engine.embed(picture, engine.detect(picture))

    alone = load_pack(folder, settings)
    try:
        expected = [work(alone, data) for data in images]
    finally:
        alone.close()
    with sharing(folder, settings) as (engine, batches), ThreadPoolExecutor(8) as callers:
        found = list(callers.map(lambda data: work(engine, data), images * 2))
    for embeddings, others in zip(found, expected * 2, strict=True):
        np.testing.assert_allclose(embeddings, others, atol=1e-5)
    # Every run is of 1, 2, 4 or 8 crops, and there are fewer runs than faces.
    assert set(batches.seen) <= {1, 2, 4, 8}
    assert len(batches.seen) < sum(map(len, found))
