"""The files that hold a network's activation ranges: written, found and refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
from small_networks import residual_network

from facerec.engine.runtime.activation_ranges import (
    ActivationRanges,
    find_ranges,
    parse_ranges,
    ranges_file,
    ranges_text,
    write_ranges,
)
from facerec.errors import PackError


@pytest.fixture
def network(tmp_path: Path) -> Path:
    file = tmp_path / "recognizer.onnx"
    file.write_bytes(residual_network())
    return file


def ranges_of(network: Path) -> ActivationRanges:
    return ActivationRanges(
        network=hashlib.sha256(network.read_bytes()).hexdigest(),
        source='40 pictures of "us", 3 faces',
        cost={"accuracy f32": 0.99167, "mean cosine of f32 and int8": 0.995},
        ranges={
            "input.1": (-0.996094, 0.996094),
            'odd "name"\n\\ü': (0.0, 1.5),
            "zero": (0.0, 0.0),
            "channels": ((-1.25, 0.0), (0.5, 3.0)),
            "positive": (0.0, (0.5, 1.5, 1234.0)),
        },
    )


def test_what_is_written_is_found_again(network: Path) -> None:
    ranges = ranges_of(network)
    write_ranges(ranges_file(network), ranges)
    assert ranges_file(network).name == "recognizer.ranges.toml"
    assert find_ranges(network) == ranges
    # Nothing of the writing is left behind.
    assert {path.name for path in network.parent.iterdir()} == {"recognizer.onnx", "recognizer.ranges.toml"}


def test_a_network_without_ranges_has_none(network: Path) -> None:
    assert find_ranges(network) is None


def test_ranges_of_other_weights_are_refused(network: Path) -> None:
    write_ranges(ranges_file(network), ranges_of(network))
    network.write_bytes(residual_network(("N", 3, 16, 16)))
    with pytest.raises(PackError, match=r"recognizer\.ranges\.toml holds .* ranges of other weights"):
        find_ranges(network)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("[ranges]", "[ranges", "is not TOML"),
        ("[ranges]", "[bounds]", r"holds no table \[ranges\]"),
        ("network = ", "weights = ", "does not say the network's SHA-256"),
        ("[0, 1.5]", "[1.5, 0]", r"expected two finite numbers, the\s+lesser first"),
        ("[0, 1.5]", "[0]", "expected two finite numbers"),
        ("[0, 1.5]", "[0, inf]", "expected two finite numbers"),
        ("[0, 1.5]", '[0, "1"]', "expected two finite numbers"),
        ("[0, 1.5]", "[false, true]", "expected two finite numbers"),
        ("[0.5, 3]", "[0.5, -1]", "or\\s+lists with such a number for each channel"),
        ("[0.5, 3]", "[0.5]", "'channels' is"),
        ("[0.5, 3]", "[0.5, 3, 4]", "'channels' is"),
        ("[0.5, 3]", "[]", "'channels' is"),
        ("[0.5, 3]", "[0.5, nan]", "'channels' is"),
    ],
)
def test_a_damaged_file_is_named_and_says_how_to_mend_it(
    network: Path, old: str, new: str, problem: str
) -> None:
    text = ranges_text(ranges_of(network))
    assert old in text
    ranges_file(network).write_text(text.replace(old, new))
    with pytest.raises(PackError, match=problem) as refused:
        find_ranges(network)
    assert "recognizer.ranges.toml" in refused.value.message
    assert "facerec packs quantize" in refused.value.message


def test_bytes_that_are_no_text_are_refused(network: Path) -> None:
    ranges_file(network).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PackError, match="can not be read"):
        find_ranges(network)


def test_a_network_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(PackError, match=r"gone\.onnx can not be read"):
        find_ranges(tmp_path / "gone.onnx")


def test_a_place_that_can_not_be_written_is_named(network: Path) -> None:
    with pytest.raises(PackError, match="can not be written"):
        write_ranges(network.parent / "nowhere" / "x.ranges.toml", ranges_of(network))


def test_a_failed_write_leaves_the_old_file(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ranges(ranges_file(network), ranges_of(network))
    before = ranges_file(network).read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(PackError, match="No space left"):
        write_ranges(ranges_file(network), replace(ranges_of(network), source="others"))
    assert ranges_file(network).read_bytes() == before
    assert len(list(network.parent.iterdir())) == 2


def test_every_file_that_comes_with_facerec_is_sound() -> None:
    files = list(resources.files("facerec.engine.runtime").joinpath("ranges").iterdir())
    assert files
    for file in files:
        found = parse_ranges(file.read_text("utf-8"), file.name)
        assert file.name == f"{found.network[:16]}.toml"
        assert len(found.network) == 64
        assert found.source


def test_ranges_that_come_with_facerec_are_found_by_the_weights(shared: Path, tmp_path: Path) -> None:
    for name in ("scrfd_500m_bnkps", "scrfd_2.5g_bnkps", "yunet_n_dynamic", "mobilefacenet_128d"):
        link = tmp_path / f"renamed_{name}.onnx"
        link.symlink_to(shared / "models" / f"{name}.onnx")
        found = find_ranges(link)
        assert found is not None, name
        assert found.cost, name
