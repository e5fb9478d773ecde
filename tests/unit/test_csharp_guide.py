"""What the guide for C# says of errors and limits is what the service, and the client beside it, do."""

from __future__ import annotations

import re
from pathlib import Path

from facerec.api.rest.errors import REST_ERRORS
from facerec.config import MEBIBYTE, Settings

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "csharp.md").read_text("utf-8")
CLIENT = (ROOT / "examples" / "csharp" / "FacerecClient.cs").read_text("utf-8")
OF_THE_FRAMEWORK = {"InvalidRequest": 422}
"""Codes that are no error of the package's own."""


def test_each_code_of_the_guide_comes_with_its_status() -> None:
    statuses: dict[str, set[int]] = {code: {status} for code, status in OF_THE_FRAMEWORK.items()}
    for row in REST_ERRORS.values():
        statuses.setdefault(row.code, set()).add(row.status)
    rows = re.findall(r"^\| (`\w+`.*?) \| ([\d, ]+) \|", GUIDE, re.M)
    assert len(rows) == 8
    for codes, told in rows:
        said = {int(status) for status in told.split(", ")}
        named = re.findall(r"`(\w+)`", codes)
        known = {code: statuses[code] & said for code in named}
        assert all(known.values()), (codes, told)
        assert set().union(*known.values()) == said, (codes, told)


def test_the_limits_of_the_guide_are_those_of_the_settings() -> None:
    limits = re.search(r"more than (\d+) MiB each, (\d+) MiB a request", GUIDE)
    assert limits is not None
    fields = (Settings.model_fields[name].default for name in ("max_image_bytes", "max_body_bytes"))
    assert tuple(int(each) * MEBIBYTE for each in limits.groups()) == tuple(fields)


def test_what_the_guide_says_of_the_client_is_in_it() -> None:
    temporary = re.search(r"Temporary = \{ ([\d, ]+) \}", CLIENT)
    assert temporary is not None
    assert temporary[1] == "408, 429, 502, 503, 504"
    assert "408, 429 and 502 to 504 are repeated" in GUIDE
    seconds = re.search(r"timeout \?\? TimeSpan.FromSeconds\((\d+)\)", CLIENT)
    assert seconds is not None
    assert f"{seconds[1]} seconds an attempt" in GUIDE
