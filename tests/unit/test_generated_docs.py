"""The generated pages of `docs/` say what the code says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from facerec.api.rekognition.operations import OPERATIONS

DOCS = Path(__file__).resolve().parents[2] / "docs"
GENERATOR = runpy.run_path(str(DOCS / "generate.py"))


@pytest.mark.parametrize("name", sorted(GENERATOR["PAGES"]))
def test_a_page_is_as_the_code_would_write_it(name: str) -> None:
    written = (DOCS / name).read_text(encoding="utf-8")
    assert written == GENERATOR["PAGES"][name](), "stale: run `make docs`"


def test_each_offered_operation_is_described() -> None:
    assert set(GENERATOR["DIFFERENCES"]) == set(OPERATIONS)


def test_each_error_of_the_service_has_a_meaning() -> None:
    from facerec import errors

    classes = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert set(dict(GENERATOR["_meanings"]())) == classes - {"FacerecError"}
