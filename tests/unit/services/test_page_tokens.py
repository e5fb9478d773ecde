from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facerec.errors import InvalidPaginationToken
from facerec.metastore import open_at
from facerec.services.pagination import PageTokens, page_size


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> PageTokens:
    database = open_at(tmp_path_factory.mktemp("tokens"))
    made = PageTokens(database)
    database.close()
    return made


def test_a_token_carries_its_cursor(tokens: PageTokens) -> None:
    assert tokens.read_number(tokens.make(2**62, "faces", 1, None), "faces", 1, None) == 2**62
    assert tokens.read_text(tokens.make("ann", "users", 1), "users", 1) == "ann"
    assert tokens.read_number(None, "faces") == 0
    assert tokens.read_text(None, "users") == ""


def test_the_longest_cursor_fits_into_a_token(tokens: PageTokens) -> None:
    assert len(tokens.make("x" * 128, "users", 2**62)) <= 255


def test_a_cursor_of_another_kind_is_refused(tokens: PageTokens) -> None:
    with pytest.raises(InvalidPaginationToken):
        tokens.read_text(tokens.make(1, "scope"), "scope")
    with pytest.raises(InvalidPaginationToken):
        tokens.read_number(tokens.make("1", "scope"), "scope")


def test_another_database_refuses_a_token(tokens: PageTokens, tmp_path: Path) -> None:
    database = open_at(tmp_path)
    with pytest.raises(InvalidPaginationToken):
        PageTokens(database).read_number(tokens.make(1, "scope"), "scope")
    database.close()


def test_every_process_on_a_database_reads_its_tokens(tmp_path: Path) -> None:
    first, second = open_at(tmp_path), open_at(tmp_path)
    assert PageTokens(second).read_number(PageTokens(first).make(7, "scope"), "scope") == 7
    first.close()
    second.close()


@given(text=st.text(max_size=300))
def test_no_other_text_is_a_token(tokens: PageTokens, text: str) -> None:
    with pytest.raises(InvalidPaginationToken):
        tokens.read_number(text, "scope")


@given(place=st.integers(0, 25), letter=st.sampled_from(string.ascii_letters + string.digits + "-_=+/ \n"))
def test_no_changed_token_passes(tokens: PageTokens, place: int, letter: str) -> None:
    token = tokens.make(12345, "scope")
    changed = token[:place] + letter + token[place + 1 :]
    if changed != token:
        with pytest.raises(InvalidPaginationToken):
            tokens.read_number(changed, "scope")


def test_page_sizes() -> None:
    assert [page_size(limit, 10, 20) for limit in (None, 0, 1, 20, 21)] == [10, 10, 1, 20, 20]
