"""No request reads a whole collection: how SQLite goes about each statement of the use cases."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from service_house import House, open_house, picture

from facerec.jobs.base import NewJob
from facerec.jobs.embedded import EmbeddedJobs

Statements = set[str]
"""Texts of statements, with the values of their parameters in them."""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with open_house(tmp_path) as opened:
        opened.collections.create("album")
        yield opened


@contextmanager
def listening(house: House) -> Iterator[Statements]:
    """Collect the statements that are executed."""
    statements: Statements = set()
    engine = house.database._engine
    traced: list[sqlite3.Connection] = []

    def trace(driver: sqlite3.Connection, *_: object) -> None:
        # SQLite itself tells of them: not all come by way of SQLAlchemy.
        driver.set_trace_callback(statements.add)
        traced.append(driver)

    sa.event.listen(engine, "checkout", trace)
    yield statements
    sa.event.remove(engine, "checkout", trace)
    for driver in traced:
        driver.set_trace_callback(None)


def wide_steps(house: House, statements: Statements) -> list[str]:
    """Steps of the statements' plans that go through a whole table, or through all of a collection."""
    found = []
    with house.database.read() as connection:
        for statement in statements:
            if statement.split()[0] not in ("SELECT", "UPDATE", "DELETE"):
                continue
            # By the driver: what SQLAlchemy takes for a parameter's place may stand in a value.
            driver = connection.connection.driver_connection
            assert driver is not None
            for *_, step in driver.execute(f"EXPLAIN QUERY PLAN {statement}"):
                if step.startswith("SCAN json_each "):  # the numbers of a parameter, no table
                    continue
                if step.startswith("SCAN") or step.endswith("(collection_key=?)"):
                    found.append(f"{step}: {statement}")
    return found


def test_a_lease_does_not_sort_all_that_waits(house: House) -> None:
    queue = EmbeddedJobs(house.database)
    queue.put([NewJob(kind="album-image", payload={"image": number}) for number in range(20)])
    with listening(house) as statements:
        assert len(queue.lease(["album-image", "album-people"], 3, seconds=60)) == 3
    (leasing,) = [statement for statement in statements if statement.startswith("WITH")]
    with house.database.read() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        steps = [step for *_, step in driver.execute(f"EXPLAIN QUERY PLAN {leasing}")]
    assert any("ix_jobs_priority" in step for step in steps)
    assert not any("ORDER BY" in step for step in steps)


def test_no_request_goes_through_a_whole_collection(house: House) -> None:
    pictures = [picture(f"p{number}", f"q{number}") for number in range(12)]
    for image in pictures:
        house.faces.index("album", image, external_image_id="x")
    with listening(house) as statements:
        indexed = [
            record.face.face_id
            for image in [*pictures, picture("new")]
            for record in house.faces.index("album", image, external_image_id="x").indexed
        ]
        house.faces.index("album", pictures[0])
        # Enough hits that SQLite would rather read the collection than look each of them up.
        assert len(house.faces.search_by_image("album", pictures[0], threshold=0).matches) > 20
        house.faces.search("album", indexed[0], threshold=0)
        for number in range(12):
            house.people.create("album", f"user{number}", client_token=f"token{number}")
            house.people.associate(
                "album", f"user{number}", indexed[2 * number : 2 * number + 1], threshold=0
            )
        assert len(house.people.search_by_image("album", pictures[0], threshold=0).matches) == 12
        house.people.search("album", user_id="user0", threshold=0)
        house.people.search("album", face_id=indexed[0], threshold=0)
        house.faces.list("album", user_id="user1")
        house.faces.list("album", face_ids=indexed[:9])
        token = house.faces.list("album", limit=3).page.next_token
        house.faces.list("album", limit=3, token=token)
        house.people.list("album", limit=3, token=house.people.list("album", limit=3).next_token)
        house.people.disassociate("album", "user0", indexed[:1])
        house.faces.delete("album", indexed[:3])
        house.people.delete("album", "user1")
        house.collections.describe("album")
    assert len(statements) > 25
    assert wide_steps(house, statements) == []
