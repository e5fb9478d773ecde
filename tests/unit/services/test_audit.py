"""The audit log over both databases, written by several processes' worth of logs at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from facerec.access import ANYBODY
from facerec.config import read_settings
from facerec.db import Database
from facerec.metastore import open_metastore
from facerec.observability import RequestContext
from facerec.services.audit import MOST_IDS, Act, AuditLog, Deed


@pytest.fixture
def database(tmp_path: Path, database_url: str | None) -> Iterator[Database]:
    database = open_metastore(read_settings(data_dir=tmp_path, database_url=database_url))
    yield database
    database.close()


def deed(act: Act, *face_ids: str) -> Deed:
    return Deed(act=act, door="rest", operation="test", collection="door", outcome="ok", face_ids=face_ids)


def test_several_processes_write_whole_chains(database: Database) -> None:
    logs = [AuditLog(database, "on") for _ in range(3)]
    context = RequestContext(caller=ANYBODY)

    def write(place: int) -> None:
        logs[place % 3].record(context, deed(Act.CHANGE if place % 2 else Act.SEARCH, f"face-{place}"))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(60)))
    for log in logs:
        log.close()
    reader = AuditLog(database, "off")
    assert {entry["faces"][0] for entry in reader.latest()} == {f"face-{place}" for place in range(60)}
    states = reader.verify()
    assert [state.fault for state in states] == [None] * 3
    assert [state.last_number for state in states] == [20] * 3
    with database.write() as connection:
        connection.execute(sa.text("DELETE FROM audit_entries WHERE number = 7"))
    assert [state.fault for state in reader.verify()] == ["entry 7 is missing"] * 3


def test_an_entry_is_bounded_and_nobody_unknown_writes_one(database: Database) -> None:
    log = AuditLog(database, "on")
    many = [f"face-{number}" for number in range(200)]
    log.record(RequestContext(caller=ANYBODY), deed(Act.CHANGE, *many))
    log.record(RequestContext(), deed(Act.CHANGE, "of a request that was not let in"))
    (entry,) = log.latest()
    assert (entry["faces"], entry["face_count"]) == (many[:MOST_IDS], 200)
    log.close()
