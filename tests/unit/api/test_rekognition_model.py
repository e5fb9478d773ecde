"""The service model as plain values, and its patterns in Python's dialect."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from facerec.api.rekognition.model import Shape, read_model, translate_pattern

MODEL = read_model()


def every_shape() -> dict[str, Shape]:
    found: dict[str, Shape] = {}
    waiting = [
        shape for operation in MODEL.operations.values() for shape in (operation.input, operation.output)
    ]
    while waiting:
        shape = waiting.pop()
        if shape.name not in found:
            found[shape.name] = shape
            waiting += [*shape.members.values(), *(part for part in (shape.key, shape.element) if part)]
    return found


def test_the_facts_of_the_wire() -> None:
    assert MODEL.target_prefix == "RekognitionService"
    assert MODEL.json_version == "1.1"
    assert len(MODEL.operations) == 75


def test_shapes_carry_their_constraints() -> None:
    index = MODEL.operations["IndexFaces"].input
    assert index.required == ("CollectionId", "Image")
    assert (index.members["CollectionId"].minimum, index.members["CollectionId"].maximum) == (1, 255)
    assert index.members["QualityFilter"].enum == ("NONE", "AUTO", "LOW", "MEDIUM", "HIGH")
    assert index.members["Image"].members["Bytes"].kind == "blob"
    assert "ServiceQuotaExceededException" in MODEL.operations["IndexFaces"].errors


def test_every_pattern_of_the_model_is_translated() -> None:
    patterns = [shape for shape in every_shape().values() if shape.pattern]
    assert len(patterns) > 30
    assert all(shape.expression is not None for shape in patterns)


def test_the_letter_number_and_separator_classes_agree_with_unicode() -> None:
    expression = translate_pattern(r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$")
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        allowed = unicodedata.category(character)[0] in "LZN" or character in "_.:/=+-@"
        assert bool(expression.fullmatch(character)) == allowed, hex(code)


@pytest.mark.parametrize(
    ("shape", "accepted", "refused"),
    [
        ("CollectionId", ["a", "A-b_c.9"], ["", "a b", "a/b", "a:b", "ä", "a\n"]),
        ("ExternalImageId", ["a:b"], ["a b", "a/b", "١"]),
        ("FaceId", ["11111111-2222-3333-4444-555555555555"], ["11111111-2222-3333-4444-55555555555A", "x"]),
        ("TagKey", ["Größe 漢字", "a:b", ""], ["aws:x", "a*b", "a\tb"]),
        ("ClientRequestToken", ["a-b_C9"], ["a.b", "a\n"]),
        ("S3Bucket", ["my.bucket-1"], ["my/bucket"]),
    ],
)
def test_patterns_match_as_a_whole(shape: str, accepted: list[str], refused: list[str]) -> None:
    expression = every_shape()[shape].expression
    assert expression is not None
    for text in accepted:
        assert expression.fullmatch(text), text
    for text in refused:
        assert not expression.fullmatch(text), text
