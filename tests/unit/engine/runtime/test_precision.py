"""Which precision a network is opened in."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_networks import residual_network

from facerec.engine.runtime import precision, processor
from facerec.engine.runtime.activation_ranges import ActivationRanges, ranges_file, write_ranges
from facerec.engine.runtime.compiled_forms import CompiledForms
from facerec.engine.runtime.pixel_input import PixelInput
from facerec.engine.runtime.precision import (
    NetworkUse,
    PrecisionChoice,
    agreement,
    compare_speed,
    open_in_precision,
    trial_answer,
)
from facerec.engine.runtime.processor import Int8Products, int8_products, processor_instructions
from facerec.engine.runtime.range_measurement import RecordingSession
from facerec.engine.runtime.session import open_session
from facerec.engine.runtime.tensor_range import Range
from facerec.errors import ConfigurationError, PackError

PIXELS = PixelInput("rgb", mean=0.0, std=255.0)


@pytest.fixture
def use(tmp_path: Path) -> NetworkUse:
    file = tmp_path / "network.onnx"
    file.write_bytes(residual_network())
    return NetworkUse(
        role="recognizer",
        file=file,
        digest=hashlib.sha256(file.read_bytes()).hexdigest(),
        pixels=PIXELS,
        input_shape=(1, 3, 16, 16),
        trial=(1, 3, 16, 16),
    )


@pytest.fixture
def ranges(use: NetworkUse) -> ActivationRanges:
    """The network's ranges, beside its file."""
    recording = RecordingSession(use.file, runtime="openvino", threads=1)
    for image in np.random.default_rng(4).random((20, 1, 3, 16, 16), np.float32):
        recording.run(image)
    digest = hashlib.sha256(use.file.read_bytes()).hexdigest()
    made = ActivationRanges(network=digest, source="noise", ranges=recording.ranges())
    write_ranges(ranges_file(use.file), made)
    return made


def given_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str) -> None:
    """A processor that tells of these instructions."""
    told = tmp_path / "cpuinfo"
    told.write_text(f"processor : 0\nmodel name : Some Processor\nflags : fpu {flags}\n")
    monkeypatch.setattr(processor, "_CPUINFO", told)


def opened(use: NetworkUse, wanted: str) -> tuple[str, str]:
    session, choice = open_in_precision(use, wanted, runtime="openvino", threads=1, parallel=1)
    assert session.run(np.zeros((1, 16, 16, 3), np.uint8))[0].shape == (1, 8)
    assert choice.network == "network.onnx"
    return choice.precision, choice.reason


@pytest.mark.parametrize("wanted", ["f32", "bf16", "int8"])
def test_a_set_precision_is_obeyed(use: NetworkUse, ranges: ActivationRanges, wanted: str) -> None:
    assert ranges.ranges
    assert opened(use, wanted) == (wanted, "as set (FACEREC_PRECISION)")


def test_int8_without_ranges_says_how_they_are_made(use: NetworkUse) -> None:
    with pytest.raises(ConfigurationError, match=r"not known: make them with `facerec packs quantize"):
        opened(use, "int8")


@pytest.mark.parametrize(("flags", "expected"), [("avx2", "f32"), ("avx512_vnni avx512_bf16", "bf16")])
def test_auto_without_ranges_takes_the_next_best(
    use: NetworkUse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, expected: str
) -> None:
    given_processor(monkeypatch, tmp_path, flags)
    chosen, reason = opened(use, "auto")
    assert chosen == expected
    assert "facerec packs quantize" in reason


def test_auto_leaves_int8_to_processors_that_multiply_it(
    use: NetworkUse, ranges: ActivationRanges, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert ranges.ranges
    given_processor(monkeypatch, tmp_path, "sse2")
    chosen, reason = opened(use, "auto")
    assert chosen == "f32"
    assert "no instructions for products of int8" in reason


@pytest.mark.parametrize("flags", ["ssse3 avx2", "ssse3 avx2 avx512_vnni"])
def test_auto_tries_both_and_takes_the_faster(
    use: NetworkUse, ranges: ActivationRanges, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str
) -> None:
    assert ranges.ranges
    given_processor(monkeypatch, tmp_path, flags)
    chosen, reason = opened(use, "auto")
    after, before = (float(words.split()[-2]) for words in reason.split(","))
    # Times are told to two places.
    assert chosen == ("int8" if after * 1.1 < before else "f32") or abs(after * 1.1 - before) < 0.02


def test_auto_leaves_an_int8_form_that_answers_otherwise(
    use: NetworkUse, ranges: ActivationRanges, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert ranges.ranges
    given_processor(monkeypatch, tmp_path, "avx512_vnni")
    # More than any two forms agree.
    monkeypatch.setattr(precision, "_LEAST_AGREEMENT", 1.1)
    chosen, reason = opened(use, "auto")
    assert chosen == "f32"
    assert "answers otherwise than in f32" in reason
    with pytest.raises(PackError, match="set FACEREC_PRECISION=f32"):
        opened(use, "int8")


def test_damaged_ranges_are_an_error_of_the_pack(use: NetworkUse, ranges: ActivationRanges) -> None:
    assert ranges.ranges
    ranges_file(use.file).write_text("[ranges]\n")
    with pytest.raises(PackError, match=r"network\.ranges\.toml"):
        opened(use, "auto")


def test_where_the_system_tells_nothing_no_instruction_is_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "missing")
    assert processor_instructions() == frozenset()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("ssse3 avx2 avx512_vnni", Int8Products.IN_32_BITS),
        ("ssse3 avx2 avx_vnni", Int8Products.IN_32_BITS),
        ("asimd asimddp", Int8Products.IN_32_BITS),
        ("ssse3 avx2", Int8Products.IN_16_BITS),
        ("ssse3 avx512f avx512bw", Int8Products.IN_16_BITS),
        ("asimd", Int8Products.UNKNOWN),
    ],
)
def test_how_a_processor_sums_products_of_int8(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, expected: Int8Products
) -> None:
    given_processor(monkeypatch, tmp_path, flags)
    assert int8_products() is expected


def test_instructions_are_read_as_arm_tells_them_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text("processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n")
    monkeypatch.setattr(processor, "_CPUINFO", told)
    assert {"asimddp", "i8mm"} <= processor_instructions()


def test_times_are_those_of_the_sessions_in_order(use: NetworkUse) -> None:
    class Slow:
        """The network, after a pause."""

        def __init__(self) -> None:
            self.session = open_session(use.file, runtime="openvino", threads=1, pixels=PIXELS)
            self.input_names = self.session.input_names
            self.output_names = self.session.output_names
            self.input_shape = self.session.input_shape

        def run(self, *inputs: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> list[Any]:
            time.sleep(0.05)
            return list(self.session.run(*inputs))

    quick_session = open_session(use.file, runtime="openvino", threads=1, pixels=PIXELS)
    quick, slow = compare_speed(quick_session, Slow(), use)
    assert slow >= 50
    assert quick < slow


def test_a_network_agrees_with_itself_and_not_with_another(use: NetworkUse, tmp_path: Path) -> None:
    session = open_session(use.file, runtime="openvino", threads=1, pixels=PIXELS)
    answer = trial_answer(session, use)
    assert agreement(answer, answer) == pytest.approx(1)
    model = onnx.load(use.file)
    for weight in model.graph.initializer:
        weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
    other = open_session(model.SerializeToString(), runtime="openvino", threads=1, pixels=PIXELS)
    assert agreement(answer, trial_answer(other, use)) < 0.85


def opened_again(use: NetworkUse, wanted: str, compiled: Path) -> tuple[list[Any], PrecisionChoice]:
    """What a network that is kept answers, and its choice."""
    session, choice = open_in_precision(
        use, wanted, runtime="openvino", threads=1, parallel=2, compiled=compiled
    )
    noise = np.random.default_rng(2).integers(0, 256, (1, 16, 16, 3), np.uint8)
    return [session.run(noise)[0].tolist() for _ in range(2)], choice


@pytest.mark.parametrize("wanted", ["auto", "int8", "f32", "bf16"])
def test_the_second_process_tries_nothing_and_chooses_the_same(
    use: NetworkUse,
    ranges: ActivationRanges,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    wanted: str,
) -> None:
    assert ranges.ranges
    given_processor(monkeypatch, tmp_path, "avx512_vnni")
    monkeypatch.setattr(precision, "compare_speed", lambda *_: (1.0, 2.0))
    first = opened_again(use, wanted, tmp_path / "compiled")
    assert first[1].precision == ("int8" if wanted == "auto" else wanted)

    def refuse(*_: object) -> object:
        raise AssertionError("tried again")

    monkeypatch.setattr(precision, "compare_speed", refuse)
    monkeypatch.setattr(precision._Opener, "open_rival", refuse)
    assert opened_again(use, wanted, tmp_path / "compiled") == first


def test_what_was_chosen_in_the_place_of_int8_is_tried_again(
    use: NetworkUse, ranges: ActivationRanges, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert ranges.ranges
    given_processor(monkeypatch, tmp_path, "avx512_vnni")
    choices = []
    for speeds in ((2.0, 1.0), (1.0, 2.0), (2.0, 1.0)):
        monkeypatch.setattr(precision, "compare_speed", lambda *_, speeds=speeds: speeds)
        choices.append(opened_again(use, "auto", tmp_path / "compiled")[1].precision)
    assert choices == ["f32", "int8", "int8"]


def test_other_ranges_are_another_choice(
    use: NetworkUse, ranges: ActivationRanges, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given_processor(monkeypatch, tmp_path, "avx512_vnni")
    before, _ = opened_again(use, "int8", tmp_path / "compiled")
    wide: dict[str, Range] = dict.fromkeys(ranges.ranges, (-50.0, 50.0))
    write_ranges(ranges_file(use.file), replace(ranges, ranges=wide))
    after, _ = opened_again(use, "int8", tmp_path / "compiled")
    assert after != before


def test_a_kept_form_that_answers_otherwise_is_compiled_anew(
    use: NetworkUse, ranges: ActivationRanges, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given_processor(monkeypatch, tmp_path, "avx512_vnni")
    compiled = tmp_path / "compiled"
    right = opened_again(use, "int8", compiled)
    # In place of the network in int8, one whose weights are their negatives.
    (form,) = (file for file in compiled.iterdir() if b'"streams"' in file.read_bytes()[:200])
    model = onnx.load(use.file)
    for weight in model.graph.initializer:
        weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
    wrong = tmp_path / "wrong.onnx"
    onnx.save(model, wrong)
    wrong_forms = CompiledForms.of(wrong, tmp_path / "wrong")
    open_session(
        wrong, runtime="openvino", threads=1, parallel=2, input_shape=use.input_shape, pixels=PIXELS,
        precision="int8", ranges=ranges.ranges, forms=wrong_forms,
    )  # fmt: skip
    (wrong_form,) = (tmp_path / "wrong").iterdir()
    form.write_bytes(wrong_form.read_bytes())
    assert opened_again(use, "int8", compiled) == right
    assert form.read_bytes() != wrong_form.read_bytes()
