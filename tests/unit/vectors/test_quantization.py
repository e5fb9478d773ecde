"""Unit vectors as int8: the error bound, the ladder of scales, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from facerec.domain import QuantizedEmbedding
from facerec.vectors.quantization import RANGE, dequantize, dequantize_batch, quantize, quantize_batch


def unit(rng: np.random.Generator, count: int, dimension: int) -> NDArray[np.float32]:
    vectors = rng.standard_normal((count, dimension)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


@pytest.mark.parametrize("dimension", [128, 512])
def test_cosines_survive_within_the_documented_error(dimension: int) -> None:
    rng = np.random.default_rng(1)
    stored, probes = unit(rng, 2000, dimension), unit(rng, 50, dimension)
    stored = stored[np.abs(stored).max(axis=1) < RANGE / math.sqrt(dimension)]  # the ladder's first step
    decoded = dequantize_batch(quantize_batch(stored))
    assert np.all(np.sum(decoded * stored, axis=1) > 0.9998)
    error = probes @ decoded.T - probes @ stored.T
    expected = RANGE / (127 * math.sqrt(dimension)) / math.sqrt(12)
    assert np.abs(error).max() < 0.02
    assert 0.9 * expected < error.std() < 1.1 * expected


@pytest.mark.parametrize("dimension", [128, 512])
def test_nearly_all_vectors_share_one_scale(dimension: int) -> None:
    embeddings = quantize_batch(unit(np.random.default_rng(2), 3000, dimension))
    scales = {e.scale for e in embeddings}
    first = min(scales)
    assert sum(e.scale == first for e in embeddings) >= 2990
    assert first == pytest.approx(RANGE / (127 * math.sqrt(dimension)), rel=1e-6)


@given(
    largest=st.floats(0.05, 1.0),
    position=st.integers(0, 127),
    sign=st.sampled_from([-1.0, 1.0]),
    seed=st.integers(0, 1000),
)
def test_no_component_clips_however_large(largest: float, position: int, sign: float, seed: int) -> None:
    vector = np.random.default_rng(seed).standard_normal(128)
    vector[position] = 0
    vector *= math.sqrt(1 - largest**2) / np.linalg.norm(vector)
    vector[position] = sign * largest
    embedding = quantize(vector.astype(np.float32))
    codes = np.frombuffer(embedding.codes, dtype=np.int8)
    # On step j the decoded component is within half a step of the true one: nothing was cut off.
    assert np.abs(codes * embedding.scale - vector).max() <= embedding.scale / 2 + 1e-7
    step = math.log2(embedding.scale * 127 * math.sqrt(128) / RANGE)
    assert step == pytest.approx(round(step), abs=1e-5)
    assert round(step) <= 2


def test_a_single_component_can_hold_everything() -> None:
    vector = np.zeros(512, dtype=np.float32)
    vector[3] = -1
    np.testing.assert_allclose(dequantize(quantize(vector)), vector, atol=1e-7)


def test_the_scale_survives_a_float32_column() -> None:
    embedding = quantize(unit(np.random.default_rng(3), 1, 512)[0])
    assert float(np.float32(embedding.scale)) == embedding.scale


def test_one_vector_gives_the_same_as_in_a_batch() -> None:
    vectors = unit(np.random.default_rng(4), 8, 128)
    assert [quantize(v) for v in vectors] == quantize_batch(vectors)
    assert quantize_batch(np.zeros((0, 128), dtype=np.float32)) == []


@pytest.mark.parametrize(
    "vector",
    [np.zeros(8), np.full(8, np.nan), np.full(8, np.inf), np.ones(8), np.ones((2, 2, 2)), np.ones((0,))],
    ids=["zero", "nan", "infinite", "too long", "three axes", "empty"],
)
def test_what_is_no_unit_vector_is_refused(vector: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="embedding"):
        quantize(vector.astype(np.float32))


def test_codes_without_a_direction_are_refused() -> None:
    with pytest.raises(ValueError, match="damaged"):
        dequantize(QuantizedEmbedding(codes=bytes(8), scale=0.1))
