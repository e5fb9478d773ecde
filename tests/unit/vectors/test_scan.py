"""The scan: by codes what an exhaustive search finds, by sketches as good as that."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from facerec.domain import RowKey, VectorHit
from facerec.vectors import scan
from facerec.vectors.assembly import Processor, this_processor
from facerec.vectors.kernels import Kernels
from facerec.vectors.quantization import quantize_batch
from facerec.vectors.scan import SKETCH_FROM, nearest
from facerec.vectors.segment import Segment, row_width

Vectors = NDArray[np.float32]


def unit(vectors: NDArray[np.floating]) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)


def segments_of(vectors: Vectors, sizes: Sequence[int] = ()) -> list[Segment]:
    """Segments of these sizes, the last of what is left; keys are the vectors' places."""
    segments = []
    codes = np.stack([np.frombuffer(e.codes, dtype=np.int8) for e in quantize_batch(vectors)])
    bounds = [0, *np.cumsum(sizes).tolist(), len(vectors)]
    for start, end in itertools.pairwise(bounds):
        segment = Segment(vectors.shape[1], 0.1)
        segment.append(np.arange(start, end), codes[start:end])
        segments.append(segment)
    return segments


def exhaustive(segments: Sequence[Segment], probe: Vectors, limit: int, least: float) -> list[VectorHit]:
    keys = np.concatenate([segment.keys for segment in segments])
    codes = np.concatenate([segment.contents().codes for segment in segments]).astype(np.float64)
    cosines = np.round(codes @ probe.astype(np.float64) / np.linalg.norm(codes, axis=1), 6)
    order = np.lexsort((keys, -cosines))[:limit]
    return [VectorHit(RowKey(int(keys[i])), float(cosines[i])) for i in order if cosines[i] >= least]


def assert_same(found: list[VectorHit], expected: list[VectorHit]) -> None:
    """Equal but for the last digit of a cosine, which may swap neighbours that nearly tie."""
    np.testing.assert_allclose([h.cosine for h in found], [h.cosine for h in expected], atol=2e-6)
    right = {hit.key: hit.cosine for hit in expected}
    worst = min((hit.cosine for hit in expected), default=0.0)
    assert all(abs(hit.cosine - right.get(hit.key, worst)) < 2e-6 for hit in found)
    assert found == sorted(found, key=lambda hit: (-hit.cosine, hit.key))


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as threads:
        yield threads


@pytest.mark.parametrize("dimension", [64, 100, 128, 512])
@pytest.mark.parametrize("probe_count", [1, 3, 70])
def test_by_codes_the_answer_is_exhaustive(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, dimension: int, probe_count: int
) -> None:
    monkeypatch.setattr(scan, "_PART_BYTES", 1)
    rng = np.random.default_rng(dimension)
    segments = segments_of(unit(rng.standard_normal((6000, dimension))), [1, 30, 3001])
    for segment in segments[2:]:
        segment.remove(np.arange(40, 5999, 3))
    probes = unit(rng.standard_normal((probe_count, dimension)))
    for jobs in (1, 3):
        limits = rng.choice([1, 10, 500, 4096], probe_count).tolist()
        leasts = rng.choice([-1.0, 0.0, 0.1, 0.2, 0.99], probe_count).tolist()
        found = nearest(segments, probes, limits, leasts, pool=pool, jobs=jobs)
        for place in range(min(probe_count, 12)):
            expected = exhaustive(segments, probes[place], limits[place], leasts[place])
            assert_same(found[place], expected)


@pytest.mark.parametrize("few_found", [0.0, 1.0], ids=["fine", "coarse"])
@pytest.mark.parametrize("dimension", [100, 512])
def test_by_coarse_codes_too_the_answer_is_exhaustive(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, dimension: int, few_found: float
) -> None:
    here, avx2 = this_processor(), frozenset({"avx2"})
    if here.architecture != "x86_64" or not avx2 <= here.features:
        pytest.skip("coarse codes are for processors with AVX2")
    compiled = Kernels(row_width(dimension), Processor(here.triple, "haswell", avx2))
    assert compiled.coarse_code is not None
    monkeypatch.setattr(scan, "kernels", lambda _: compiled)
    monkeypatch.setattr(scan, "_PART_BYTES", 1)
    monkeypatch.setattr(scan, "_FIRST_ROWS", 64)
    monkeypatch.setattr(scan, "_FEW_FOUND", few_found)
    rng = np.random.default_rng(dimension)
    segments = segments_of(unit(rng.standard_normal((6000, dimension))), [3000])
    probes = unit(rng.standard_normal((11, dimension)))
    limits = [1, 10, 500, 4096] * 2 + [80] * 3
    leasts = [-1.0, 0.0, 0.1, 0.2, 0.99, 0.1, 0.0, -1.0, 0.1, 0.15, 0.2]
    for jobs in (1, 3):
        found = nearest(segments, probes, limits, leasts, pool=pool, jobs=jobs)
        for hits, probe, limit, least in zip(found, probes, limits, leasts, strict=True):
            assert_same(hits, exhaustive(segments, probe, limit, least))


@pytest.mark.parametrize("dimension", [128, 512])
def test_among_thousands_of_copies_the_lowest_keys_win(pool: ThreadPoolExecutor, dimension: int) -> None:
    rng = np.random.default_rng(1)
    copies = np.repeat(unit(rng.standard_normal((1, dimension))), 24_000, axis=0)
    others = unit(rng.standard_normal((1000, dimension)))
    order = rng.permutation(25_000)
    segments = segments_of(np.concatenate([copies, others])[order], [9000, 9000])
    (hits,) = nearest(segments, copies[:1], [20], [-1.0], pool=pool, jobs=2)
    assert [hit.key for hit in hits] == np.flatnonzero(order < 24_000)[:20].tolist()


def near(rng: np.random.Generator, vectors: Vectors, cosine: float) -> Vectors:
    """For each vector a probe at this cosine."""
    anywhere = rng.standard_normal(vectors.shape)
    across = unit(anywhere - np.sum(anywhere * vectors, axis=1, keepdims=True) * vectors)
    return unit(cosine * vectors + np.sqrt(1 - cosine**2) * across)


@pytest.fixture(scope="module")
def large() -> tuple[Vectors, list[Segment]]:
    """More rows than SKETCH_FROM."""
    vectors = unit(np.random.default_rng(2).standard_normal((SKETCH_FROM + 5000, 512)))
    return vectors, segments_of(vectors, [7001, 12_000])


@pytest.mark.parametrize(("limit", "least"), [(1, 0.3), (10, 0.3), (10, 0.25), (4096, 0.2), (10, -1.0)])
def test_by_sketches_true_matches_are_found(
    pool: ThreadPoolExecutor, large: tuple[Vectors, list[Segment]], limit: int, least: float
) -> None:
    vectors, segments = large
    rng = np.random.default_rng(limit)
    places = rng.integers(0, len(vectors), 200)
    probes = near(rng, vectors[places], 0.31)
    for place, probe in zip(places.tolist(), probes, strict=True):
        (hits,) = nearest(segments, probe[None], [limit], [least], pool=pool, jobs=2)
        assert hits[0].key == place


def test_by_sketches_hits_are_those_of_an_exhaustive_search(
    pool: ThreadPoolExecutor, large: tuple[Vectors, list[Segment]]
) -> None:
    vectors, segments = large
    probes = near(np.random.default_rng(3), vectors[:6], 0.6)
    for limit, least in ((10, 0.15), (3, 0.0), (4096, 0.1)):
        for probe in probes:
            (hits,) = nearest(segments, probe[None], [limit], [least], pool=pool, jobs=1)
            assert_same(hits, exhaustive(segments, probe, limit, least))


def test_sketches_decide_only_in_large_collections(pool: ThreadPoolExecutor) -> None:
    vectors = unit(np.random.default_rng(4).standard_normal((SKETCH_FROM + 5000, 512)))
    (segment,) = segments_of(vectors)
    # A row whose sketch says that it is far off: sketches pass it over, a scan of the codes does not.
    row = SKETCH_FROM - 1001
    held = segment.arrays.sketch
    held[row // 8, :, row % 8] ^= np.uint64(2**64 - 1)

    def found(count: int) -> bool:
        (hits,) = nearest([segment], vectors[row : row + 1], [1], [0.5], pool=pool, jobs=1)
        return bool(hits)

    assert not found(1)
    segment.remove(np.arange(SKETCH_FROM - 1, SKETCH_FROM + 5000))
    assert len(segment) == SKETCH_FROM - 1
    assert found(1)


def test_many_probes_together_are_scanned_by_codes(
    pool: ThreadPoolExecutor, large: tuple[Vectors, list[Segment]]
) -> None:
    vectors, segments = large
    probes = near(np.random.default_rng(5), vectors[:150], 0.5)
    found = nearest(segments, probes, [3] * 150, [0.0] * 150, pool=pool, jobs=2)
    for place in range(0, 150, 10):
        assert_same(found[place], exhaustive(segments, probes[place], 3, 0.0))
