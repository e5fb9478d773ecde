"""What a graphics card gives: faces a second by the size of a batch, images a second by the whole engine, and
whether the embeddings are the processor's.

    pip uninstall onnxruntime; pip install -e '.[gpu]'
    python benchmarks/engine/runtime/graphics_card.py IMAGES [--pack PACK] [--runtime cuda] [--callers 64]

IMAGES: a folder of pictures with faces. Beside the runtime on the card, the same is measured with OpenVINO on
the processor. `--runtime onnxruntime` takes the processor in the card's place, to try the script out.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from facerec.config import read_settings
from facerec.engine.base import Engine, Floats
from facerec.engine.packs.loading import find_pack, load_pack
from facerec.engine.packs.manifest import read_manifest
from facerec.engine.recognition import OnnxRecognizer, batch_shape
from facerec.engine.runtime.pixel_input import PixelInput
from facerec.engine.runtime.session import open_session

BATCHES = (1, 4, 16, 64, 128)
ROUNDS = 5
MOST_IMAGES = 500


def rate(work: Callable[[], int]) -> float:
    """Things a second: the median of a few rounds after one that warms up."""
    work()
    rates = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        done = work()
        rates.append(done / (time.perf_counter() - began))
    return statistics.median(rates)


def embed_batches(folder: Path, runtime: str, threads: int) -> None:
    """Print the recogniser's faces a second."""
    manifest = read_manifest(folder)
    spec, size = manifest.recognizer, manifest.alignment.size
    session = open_session(
        spec.file,
        runtime=runtime,
        threads=threads,
        input_shape=batch_shape(size),
        pixels=PixelInput(spec.colour, mean=spec.mean, std=spec.std),
    )
    recognizer = OnnxRecognizer(session)
    random = np.random.default_rng(0)
    for batch in BATCHES:
        crops = random.integers(0, 256, (batch, size, size, 3), np.uint8)
        found = rate(lambda crops=crops: len(recognizer.embed(crops)))  # type: ignore[misc]  # bound at once
        print(f"  faces in one run: {batch:4d}   faces a second: {found:8.0f}")


def embed_images(engine: Engine, images: list[bytes], callers: int) -> list[Floats]:
    """Print images and faces a second of callers at a time; the embeddings of each image's faces."""

    def work(data: bytes) -> Floats:
        picture = engine.decode(data)
        return engine.embed(picture, engine.detect(picture))

    with ThreadPoolExecutor(callers) as pool:
        found = list(pool.map(work, images))
        images_a_second = rate(lambda: len(list(pool.map(work, images))))
    faces_a_second = images_a_second * sum(map(len, found)) / len(images)
    print(f"  images a second: {images_a_second:.0f}   faces a second: {faces_a_second:.0f}")
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path)
    parser.add_argument("--pack", default="dlib")
    parser.add_argument("--runtime", default="cuda", choices=["cuda", "tensorrt", "onnxruntime"])
    parser.add_argument("--callers", type=int, default=64)
    options = parser.parse_args()
    images = [path.read_bytes() for path in sorted(options.images.glob("*.jp*g"))[:MOST_IMAGES]]
    found = {}
    for runtime in (options.runtime, "openvino"):
        settings = read_settings(
            model_path=options.pack, runtime=runtime, precision="f32", max_batch=max(BATCHES)
        )
        print(f"{runtime}, {options.pack}, {len(images)} pictures, {settings.threads} processors")
        embed_batches(find_pack(settings), runtime, settings.threads)
        engine = load_pack(find_pack(settings), settings)
        try:
            found[runtime] = embed_images(engine, images, options.callers)
        finally:
            engine.close()
    pairs = zip(found[options.runtime], found["openvino"], strict=True)
    alike = [(one * other).sum(axis=1).min() for one, other in pairs if len(one) and one.shape == other.shape]
    print(
        f"least cosine of a face's two embeddings: {min(alike):.5f} ({len(alike)} of {len(images)} pictures)"
    )


if __name__ == "__main__":
    main()
