from __future__ import annotations

import pytest

from facerec.access import Caller, RateLimit, Scope, parse_collections, parse_rate


def test_each_scope_includes_those_before_it() -> None:
    may = {scope: [needed for needed in Scope if scope.includes(needed)] for scope in Scope}
    assert may == {
        Scope.READ: [Scope.READ],
        Scope.WRITE: [Scope.READ, Scope.WRITE],
        Scope.ADMIN: [Scope.READ, Scope.WRITE, Scope.ADMIN],
    }


def test_a_key_reaches_names_and_beginnings() -> None:
    caller = Caller(key_id="K", collections=("door", "hall-*"))
    assert all(caller.reaches(name) for name in ("door", "hall-", "hall-1"))
    assert not any(caller.reaches(name) for name in ("door2", "hall", "Door", "", "hall*"))
    assert Caller(key_id="K").reaches("anything")


@pytest.mark.parametrize("text", ["10/s", "600/m", "5000/h", "100000/d"])
def test_a_rate_is_read_as_it_is_written(text: str) -> None:
    assert str(parse_rate(text)) == text


def test_a_rate_says_how_many_come_at_once_and_in_the_long_run() -> None:
    rate = parse_rate(" 600 / M ")
    assert (rate, rate.per_second) == (RateLimit(600, 60), 10.0)


@pytest.mark.parametrize("text", ["", "0/s", "10", "10/w", "-1/s", "1.5/s", "ten/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no rate"):
        parse_rate(text)


def test_limits_to_collections_are_checked() -> None:
    assert parse_collections(["a", "b-*", "a"]) == ("a", "b-*")
    assert parse_collections(["a", "*"]) == ()
    for wrong in ("", "a*b", "a b", "**", "a\n", "a" * 256):
        with pytest.raises(ValueError, match="is no name"):
            parse_collections([wrong])
