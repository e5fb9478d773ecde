"""Sketches: what share of the rows at a cosine they miss, and what they leave out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from facerec.vectors.loops import PLANES
from facerec.vectors.quantization import quantize_batch
from facerec.vectors.sketch import ProbeSketch, bits_of, random_share, sketch_probe

Vectors = NDArray[np.float32]


def unit(vectors: NDArray[np.floating]) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)


def codes_of(vectors: Vectors) -> NDArray[np.int8]:
    return np.stack([np.frombuffer(e.codes, dtype=np.int8) for e in quantize_batch(vectors)])


def differences(probe: ProbeSketch, sketches: NDArray[np.uint64]) -> NDArray[np.int64]:
    bits = [
        np.bitwise_count(sketches ^ probe.planes[plane]).sum(axis=1) for plane in range(len(probe.planes))
    ]
    return np.asarray(sum(count.astype(np.int64) << plane for plane, count in enumerate(bits)))


def missed(
    rng: np.random.Generator, dimension: int, cosine: float, probes: int, rows: int, planes: int
) -> float:
    """Share of the rows at exactly this cosine from their probe that the sketches leave out."""
    left_out = 0
    for _ in range(probes):
        probe = unit(rng.standard_normal(dimension))
        anywhere = rng.standard_normal((rows, dimension))
        across = unit(anywhere - (anywhere @ probe)[:, None] * probe)
        codes = codes_of(unit(cosine * probe + np.sqrt(1 - cosine**2) * across))
        sketch = sketch_probe(probe, planes)
        left_out += int(np.sum(differences(sketch, bits_of(codes)) > sketch.cut(cosine)))
    return left_out / (probes * rows)


@pytest.mark.parametrize("planes", [PLANES, 1])
@pytest.mark.parametrize(
    ("dimension", "cosine"), [(128, 0.35), (320, 0.35), (512, 0.0), (512, 0.35), (512, 0.7)]
)
def test_rows_at_the_cosine_wanted_are_hardly_ever_left_out(
    dimension: int, cosine: float, planes: int
) -> None:
    rng = np.random.default_rng(dimension)
    # Nominally 1 in 100 000: three of 10 000 would hardly be chance.
    assert missed(rng, dimension, cosine, probes=10, rows=1000, planes=planes) <= 2e-4


@pytest.mark.parametrize(
    ("dimension", "cosine", "most"),
    [(512, 0.2, 0.25), (512, 0.3, 0.006), (512, 0.4, 1e-4)],
)
def test_strangers_are_left_out(dimension: int, cosine: float, most: float) -> None:
    rng = np.random.default_rng(dimension)
    sketches = bits_of(codes_of(unit(rng.standard_normal((10_000, dimension)))))
    shares = []
    for _ in range(5):
        sketch = sketch_probe(unit(rng.standard_normal(dimension)))
        shares.append(np.mean(differences(sketch, sketches) <= sketch.cut(cosine)))
    assert np.mean(shares) < most


@pytest.mark.parametrize(("dimension", "cosine"), [(128, 0.35), (128, 0.6), (512, 0.2)])
def test_the_share_of_random_rows_is_known_beforehand(dimension: int, cosine: float) -> None:
    rng = np.random.default_rng(3)
    sketches = bits_of(codes_of(unit(rng.standard_normal((20_000, dimension)))))
    probes = [sketch_probe(unit(rng.standard_normal(dimension))) for _ in range(4)]
    near = np.mean([differences(probe, sketches) <= probe.cut(cosine) for probe in probes])
    assert random_share(dimension, cosine) == pytest.approx(near, rel=0.1, abs=0.002)


def test_the_cut_tightens_with_the_cosine() -> None:
    sketch = sketch_probe(unit(np.random.default_rng(1).standard_normal(512)))
    cuts = [sketch.cut(cosine) for cosine in np.linspace(-1, 1, 41)]
    assert all(low > high for low, high in itertools.pairwise(cuts[1:]))


def test_a_row_is_nearest_to_its_own_sketch_and_farthest_from_its_opposite() -> None:
    rng = np.random.default_rng(2)
    vectors = unit(rng.standard_normal((200, 512)))
    sketches = bits_of(codes_of(np.concatenate([vectors, -vectors])))
    for place in range(0, 200, 20):
        found = differences(sketch_probe(vectors[place]), sketches)
        assert found.argmin() == place
        assert found.argmax() == place + 200


def test_sketches_of_a_row_do_not_depend_on_its_neighbours() -> None:
    codes = codes_of(unit(np.random.default_rng(3).standard_normal((50, 256))))
    together = bits_of(codes)
    assert together.shape == (50, 4)
    for place in (0, 7, 49):
        np.testing.assert_array_equal(bits_of(codes[place : place + 1]), together[place : place + 1])


def test_the_rotation_is_that_of_the_version() -> None:
    """Sketches on disk are of this very rotation: when this fails, `sketch.VERSION` has to be raised."""
    codes = np.eye(256, dtype=np.int8)[:3] * 100
    assert [f"{word:016x}" for word in bits_of(codes)[:, 0]] == [
        "4194d5461fc4c331",
        "873b882fb360d01b",
        "ef4b19b57ccb9a32",
    ]
