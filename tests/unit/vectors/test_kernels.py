"""The compiled loops: the same whole numbers as NumPy's, whatever processor they are compiled for."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from numpy.typing import NDArray

from facerec.vectors.assembly import Processor, this_processor
from facerec.vectors.dot_products import ROW_BLOCK
from facerec.vectors.kernels import Kernels, ProbeCodes, Reached, assembler_of
from facerec.vectors.loops import PLANES, SKETCH_ROWS

LINUX = "x86_64-unknown-linux-gnu"
OLD_FEATURES = {
    "x86-64": frozenset[str](),
    "haswell": frozenset({"avx2"}),
    "skylake-avx512": frozenset({"avx2", "avx512f", "avx512bw", "avx512vl"}),
}


@functools.cache
def compiled(width: int, name: str = "") -> Kernels:
    """For this processor, or as for an older one of the same architecture."""
    here = this_processor()
    if not name:
        return Kernels(width, here)
    if here.architecture != "x86_64" or not OLD_FEATURES[name] <= here.features:
        pytest.skip(f"this processor does not run what is compiled for {name}")
    return Kernels(width, Processor(here.triple, name, OLD_FEATURES[name]))


def random_codes(rng: np.random.Generator, count: int, width: int, largest: int = 127) -> NDArray[np.int8]:
    codes = rng.integers(-largest, largest + 1, (count, width), dtype=np.int8)
    codes[rng.random(count) < 0.1] = largest
    codes[rng.random(count) < 0.1] = -largest
    codes[rng.random(count) < 0.1] = 0
    return codes


def exact(codes: NDArray[np.int8], probes: NDArray[np.int8]) -> NDArray[np.int64]:
    """All dot products (n, Q)."""
    return np.asarray(codes.astype(np.int64) @ probes.T.astype(np.int64))


def found_above(
    kernels: Kernels, codes: NDArray[np.int8], probes: ProbeCodes, cuts: NDArray[np.int64], capacity: int
) -> list[dict[int, int]]:
    """Row and product of all that `above` finds for each probe, in as many calls as it takes."""
    found: list[dict[int, int]] = [{} for _ in range(probes.count)]
    row = 0
    while row < len(codes):
        reached = Reached.empty(probes, capacity)
        stopped = kernels.above(codes, row, len(codes), probes, cuts, reached)
        assert stopped > row
        for number, hits in enumerate(found):
            count = int(reached.counts[number])
            assert count <= capacity
            sums = reached.sums[number, :count] - probes.biases[number]
            hits.update(zip(reached.rows[number, :count].tolist(), sums.tolist(), strict=True))
        row = stopped
    return found


@pytest.mark.parametrize("name", ["", *OLD_FEATURES])
@pytest.mark.parametrize("width", [64, 128, 320, 512, 1024, 4096])
def test_dot_products_are_those_of_numpy(width: int, name: str) -> None:
    kernels = compiled(width, name)
    rng = np.random.default_rng(width)
    for count, probe_count in ((16, 1), (16, 3), (208, 1), (208, 2), (48, 17), (320, 9)):
        codes = random_codes(rng, count, width)
        asked = random_codes(rng, probe_count, width)
        probes = kernels.prepare(asked)
        right = exact(codes, asked)
        cuts = np.array([rng.choice(right[:, q]) for q in range(probe_count)])
        cuts[rng.random(probe_count) < 0.3] = -(10**12)
        cuts[rng.random(probe_count) < 0.1] = 10**12
        expected = [
            {int(row): int(right[row, q]) for row in np.flatnonzero(right[:, q] >= cuts[q])}
            for q in range(probe_count)
        ]
        for capacity in (16, 50, 1000):
            assert found_above(kernels, codes, probes, cuts, capacity) == expected
        for chosen in (0, 1, 16, 45, 200):
            rows = rng.integers(0, count, chosen).astype(np.int32)
            number = int(rng.integers(0, probe_count))
            np.testing.assert_array_equal(kernels.products(codes, rows, probes, number), right[rows, number])


@pytest.mark.parametrize("width", [64, 128, 512, 4096])
def test_coarse_probes_give_the_dot_products_of_numpy(width: int) -> None:
    kernels = compiled(width, "haswell")
    largest = kernels.coarse_code
    assert largest == 31
    rng = np.random.default_rng(width)
    for count, probe_count in ((16, 1), (208, 2), (48, 17)):
        codes, asked = random_codes(rng, count, width), random_codes(rng, probe_count, width, largest)
        codes[0], codes[-1], asked[0], asked[-1] = 127, -127, largest, -largest
        right = exact(codes, asked)
        cuts = np.array([rng.choice(right[:, q]) for q in range(probe_count)])
        expected = [
            {int(row): int(right[row, q]) for row in np.flatnonzero(right[:, q] >= cuts[q])}
            for q in range(probe_count)
        ]
        assert found_above(kernels, codes, kernels.prepare_coarse(asked), cuts, 50) == expected


def test_above_looks_at_no_row_outside_its_range() -> None:
    kernels = compiled(128)
    codes = random_codes(np.random.default_rng(1), 160, 128)
    for probe_count in (1, 4):
        probes = kernels.prepare(codes[:probe_count])
        reached = Reached.empty(probes, 200)
        cuts = np.full(probe_count, -(10**9))
        assert kernels.above(codes, 32, 96, probes, cuts, reached) == 96
        assert reached.counts[:probe_count].tolist() == [64] * probe_count
        assert sorted(reached.rows[0, :64].tolist()) == list(range(32, 96))


@pytest.mark.parametrize("name", ["", *OLD_FEATURES])
@pytest.mark.parametrize("width", [64, 320, 512])
def test_signs_are_those_of_the_dot_products(width: int, name: str) -> None:
    kernels = compiled(width, name)
    rng = np.random.default_rng(width)
    for count, probe_count in ((16, 16), (80, 64), (32, 528)):
        codes, asked = random_codes(rng, count, width), random_codes(rng, probe_count, width)
        bits = kernels.signs(codes, kernels.prepare(asked))
        right = exact(codes, asked) > 0
        np.testing.assert_array_equal(np.unpackbits(bits, axis=1, bitorder="little"), right)


@pytest.mark.parametrize("name", ["", *OLD_FEATURES])
@pytest.mark.parametrize("words", [1, 5, 8, 64])
def test_sketches_below_a_cut_are_found(words: int, name: str) -> None:
    kernels = compiled(words * 64, name)
    rng = np.random.default_rng(words)
    blocks = 40
    sketch = rng.integers(0, 2**64, (blocks, words, SKETCH_ROWS), dtype=np.uint64)
    planes = rng.integers(0, 2**64, (PLANES, words), dtype=np.uint64)
    rows = sketch.transpose(0, 2, 1).reshape(-1, words)
    difference = sum(
        np.bitwise_count(rows ^ planes[plane]).sum(axis=1).astype(np.int64) << plane
        for plane in range(PLANES)
    )
    for quantile in (0.0, 0.02, 0.5, 1.0):
        cut = int(np.quantile(difference, quantile))
        found: list[int] = []
        row, end = ROW_BLOCK, blocks * SKETCH_ROWS
        while row < end:
            places = np.full(30, -1, dtype=np.int32)
            count, stopped = kernels.sketch_below(sketch, row, end, planes, cut, places)
            assert stopped > row
            assert np.all(places[count:] == -1)
            found += places[:count].tolist()
            row = stopped
        assert found == [r for r in range(ROW_BLOCK, end) if difference[r] <= cut]
    assert kernels.sketch_below(sketch, 0, end, planes, -1, places) == (0, end)


@pytest.mark.parametrize(
    ("processor", "instruction"),
    [
        (Processor(LINUX, "x86-64", frozenset()), "pmullw"),
        (Processor(LINUX, "haswell", frozenset({"avx2"})), "vpmaddwd"),
        (Processor(LINUX, "haswell", frozenset({"avx2"})), "vpmaddubsw"),
        (Processor(LINUX, "alderlake", frozenset({"avx2", "avxvnni"})), "vpdpbusd"),
        (Processor(LINUX, "icelake-server", frozenset({"avx2", "avx512f", "avx512vnni"})), "vpdpbusd"),
        (Processor(LINUX, "icelake-server", frozenset({"avx512f", "avx512vpopcntdq"})), "vpopcntq"),
        (Processor("aarch64-unknown-linux-gnu", "generic", frozenset()), "mla"),
        (Processor("aarch64-unknown-linux-gnu", "neoverse-n1", frozenset({"dotprod"})), "sdot"),
        (Processor("arm64-apple-macosx", "apple-m1", frozenset()), "sdot"),
        (Processor("arm64-apple-macosx", "apple-m1", frozenset()), "cnt"),
        (Processor("x86_64-pc-windows-msvc", "znver4", frozenset({"avx512f", "avx512vnni"})), "vpdpbusd"),
    ],
    ids=lambda value: f"{value.triple}-{value.name}" if isinstance(value, Processor) else value,
)
def test_each_kind_of_processor_gets_its_own_instructions(processor: Processor, instruction: str) -> None:
    assert f"\t{instruction}" in assembler_of(512, processor).replace("{vex} ", "")


def test_what_a_virtual_machine_hides_is_not_used() -> None:
    whole = Processor(LINUX, "haswell", frozenset())
    assert "ymm" in assembler_of(512, whole)
    hidden = Processor(LINUX, "haswell", frozenset(), missing=frozenset({"avx", "avx2", "popcnt", "bmi"}))
    text = assembler_of(512, hidden)
    assert not any(name in text for name in ("ymm", "vp", "popcnt", "tzcnt"))
    here = this_processor()
    assert not here.features & here.missing
