from __future__ import annotations

import numpy as np
import pytest
from small_networks import constant_network, mean_network

from facerec.engine.recognition import OnnxRecognizer, batch_shape
from facerec.engine.runtime.pixel_input import PixelInput
from facerec.engine.runtime.session import open_session
from facerec.errors import ConfigurationError, PackError

RAW = PixelInput("rgb", mean=0, std=1)


def recognizer(batch: int | None, *, colour: str = "rgb", mean: float = 0, std: float = 1) -> OnnxRecognizer:
    """A recogniser whose embedding is the mean of each channel of its input, 12 x 12 pixels."""
    network = mean_network((1, 3, 12, 12), 1.0)
    shape = (batch, 3, 12, 12)
    pixels = PixelInput(colour, mean, std)
    return OnnxRecognizer(
        open_session(network, runtime="openvino", threads=1, input_shape=shape, pixels=pixels)
    )


def crops(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(5).integers(0, 256, (count, 12, 12, 3), np.uint8)


@pytest.mark.parametrize("batch", [None, 1, 4])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 9])
def test_any_number_of_crops_is_embedded_in_order(batch: int | None, count: int) -> None:
    made = recognizer(batch)
    embeddings = made.embed(crops(count))
    assert made.dimension == 3
    assert made.size == 12
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, crops(count).mean(axis=(1, 2)), rtol=1e-5)


def test_colour_order_and_normalisation_follow_the_pack() -> None:
    pixels = crops(2)
    expected = (pixels.mean(axis=(1, 2)) - 127.5) / 128
    rgb = recognizer(None, mean=127.5, std=128.0)
    bgr = recognizer(None, colour="bgr", mean=127.5, std=128.0)
    np.testing.assert_allclose(rgb.embed(pixels), expected, atol=1e-5)
    np.testing.assert_allclose(bgr.embed(pixels), expected[:, ::-1], atol=1e-5)


def test_the_shape_for_batches_leaves_the_batch_open() -> None:
    assert batch_shape(112) == (None, 3, 112, 112)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ConfigurationError, match="rgb or bgr, not 'grey'"):
        recognizer(None, colour="grey")
    with pytest.raises(ConfigurationError, match="std"):
        recognizer(None, std=0)


def test_a_network_that_does_not_embed_each_crop_is_refused() -> None:
    one_answer = constant_network(("N", 3, 12, 12), [np.zeros((1, 128), np.float32)])
    session = open_session(one_answer, runtime="openvino", threads=1, pixels=RAW)
    with pytest.raises(PackError, match="one embedding of each crop"):
        OnnxRecognizer(session)


@pytest.mark.parametrize("shape", [(1, 3, 12, 16), (1, 1, 12, 12), ("N", 3, "H", "W")])
def test_a_network_that_does_not_take_square_crops_is_refused(shape: tuple[int | str, ...]) -> None:
    network = constant_network(shape, [np.zeros((1, 128), np.float32)])
    with pytest.raises(PackError, match="takes inputs of the shape"):
        OnnxRecognizer(open_session(network, runtime="openvino", threads=1))
