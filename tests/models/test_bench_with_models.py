"""`facerec bench engine` with real networks: where the time goes, and what the machine could do."""

from __future__ import annotations

from pathlib import Path

import pytest

from facerec.cli.bench.options import read_samples
from facerec.cli.bench.peers import PeerName, open_peer
from facerec.cli.bench.stages import measure_stages
from facerec.config import read_settings
from facerec.engine.packs.loading import open_engine
from facerec.errors import PackError

pytestmark = pytest.mark.slow


def test_stages_and_networks_of_pictures(scrfd_pack: Path, shared: Path) -> None:
    samples = read_samples(shared / "data" / "lfw" / "images", 6)
    settings = read_settings(model_path=str(scrfd_pack), precision="f32")
    engine = open_engine(settings)
    faces = sum(len(engine.detect(engine.decode(sample.data))) for sample in samples)
    engine.close()

    figures = measure_stages(settings, samples, rounds=2)
    assert set(figures.stages) == {
        *("decoding", "around the detector", "detection network", "alignment", "embedding network"),
    }
    assert all(ms > 0 for ms in figures.stages.values())
    networks = {network.role: network for network in figures.networks}
    recognizer, detector = networks["recognizer"], networks["detector"]
    assert (recognizer.precision, detector.precision) == ("f32", "f32")
    # MobileFaceNet has 234 million multiply-adds a face, SCRFD-500M as many a million pixels as 734 / 0.41.
    assert recognizer.runs == pytest.approx(faces / 6)
    assert recognizer.multiply_adds == pytest.approx(233.8 * faces / 6, rel=0.01)
    assert detector.runs >= 1
    assert 50 < detector.multiply_adds < 2000
    assert figures.stages["embedding network"] == pytest.approx(recognizer.ms)
    for network in figures.networks:
        assert network.floor_ms is not None
        assert network.floor_ms == pytest.approx(network.multiply_adds / figures.peak["f32"], rel=0.01)
        assert network.floor_ms < network.ms
    assert figures.floor_ms == pytest.approx(sum(network.floor_ms or 0 for network in figures.networks))


def test_the_fake_pack_has_no_networks_to_watch(shared: Path) -> None:
    samples = read_samples(shared / "data" / "lfw" / "images", 1)
    with pytest.raises(PackError, match="fake has no networks"):
        measure_stages(read_settings(model_path="fake"), samples, rounds=1)


def test_a_peer_is_measured_with_its_own_networks_alone(scrfd_pack: Path) -> None:
    settings = read_settings(model_path=str(scrfd_pack))
    with (
        pytest.raises(PackError, match="those of the pack dlib"),
        open_peer(PeerName.FACE_RECOGNITION, settings),
    ):
        pass
