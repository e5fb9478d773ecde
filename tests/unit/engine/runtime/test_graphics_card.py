"""What can be known of a graphics card's path without one: what is missing is told, batches are filled up."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from small_networks import frozen_network

from facerec.engine.base import Floats
from facerec.engine.runtime.graphics_card import CARD_RUNTIMES, FilledBatches, card_is_usable
from facerec.engine.runtime.session import choose_runtime, on_graphics_card, open_session
from facerec.errors import ConfigurationError


class Recorder:
    """A session that gives each row's sum, and notes how many rows it was given."""

    input_names: tuple[str, ...] = ("x",)
    output_names: tuple[str, ...] = ("sum",)
    input_shape: tuple[int | None, ...] = (None, 3)

    def __init__(self) -> None:
        self.seen: list[int] = []

    def run(self, *inputs: NDArray[np.generic]) -> list[Floats]:
        self.seen.append(len(inputs[0]))
        return [np.asarray(inputs[0], np.float32).sum(axis=1, keepdims=True)]


def test_batches_are_filled_up_to_powers_of_two() -> None:
    inner = Recorder()
    session = FilledBatches(inner)
    for count in (1, 2, 3, 5, 8, 9, 16, 0):
        rows = np.arange(count * 3, dtype=np.uint8).reshape(count, 3)
        (sums,) = session.run(rows)
        np.testing.assert_array_equal(sums[:, 0], rows.sum(axis=1))
    assert inner.seen == [1, 2, 4, 8, 8, 16, 16, 0]
    assert (session.input_names, session.output_names, session.input_shape) == (("x",), ("sum",), (None, 3))


@pytest.mark.skipif(card_is_usable(), reason="there is a graphics card")
@pytest.mark.parametrize("runtime", CARD_RUNTIMES)
def test_without_a_card_what_is_missing_is_told(runtime: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no graphics card can be used: .*FACEREC_RUNTIME=openvino"):
        open_session(frozen_network(), runtime=runtime, threads=1)


@pytest.mark.skipif(card_is_usable(), reason="there is a graphics card")
def test_without_a_card_networks_run_on_the_processor() -> None:
    assert choose_runtime("auto") == "openvino"
    assert not on_graphics_card("auto")
    assert not on_graphics_card("onnxruntime")
    assert on_graphics_card("cuda")
