from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_networks import constant_network, mean_network

from facerec.engine.base import Floats
from facerec.engine.quality_network import open_quality_network
from facerec.errors import PackError

LANDMARKS: Floats = np.array([[80, 90], [130, 90], [105, 115], [85, 140], [125, 140]], np.float32)


def written(folder: Path, network: bytes) -> Path:
    (folder / "quality.onnx").write_bytes(network)
    return folder / "quality.onnx"


@pytest.mark.parametrize(("output", "score"), [(0.75, 0.75), (1.5, 1.0), (-0.5, 0.0)])
def test_the_score_of_a_face_is_bounded(tmp_path: Path, output: float, score: float) -> None:
    network = constant_network((1, 3, 112, 112), [np.array([[output]], np.float32)])
    model = open_quality_network(written(tmp_path, network), runtime="onnxruntime", threads=1)
    assert model.score(np.zeros((200, 200, 3), np.uint8), LANDMARKS) == pytest.approx(score)


def test_a_network_of_more_than_one_number_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, mean_network((1, 3, 112, 112), 1.0))
    with pytest.raises(PackError, match="one score"):
        open_quality_network(file, runtime="onnxruntime", threads=1)
