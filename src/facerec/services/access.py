"""What every use case on a collection asks first: does it exist, and which engine do its vectors call for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from facerec.db import Connection, Database
from facerec.domain import Collection
from facerec.engine.base import Engine
from facerec.errors import ModelSwitched, NotFound
from facerec.metastore import collections
from facerec.services.engines import Engines

T = TypeVar("T")

ATTEMPTS = 3
"""Times that a request is answered anew because its collection has got another model meanwhile."""


def open_collection(database: Database, engines: Engines, name: str) -> tuple[Collection, Engine]:
    """The collection and the engine of its embedding contract. Raises NotFound, ModelMismatch, PackError."""
    collection = database.look(lambda connection: collections.find(connection, name))
    return collection, engines.of(collection)


def find_again(connection: Connection, target: Collection, *, lock: bool = False) -> Collection:
    """The collection as it is now, after something was embedded for it; `lock`: see `collections.find`.

    Raises NotFound, and ModelSwitched when what was embedded is of another contract than the vectors now.
    """
    present = collections.find(connection, target.name, lock=lock)
    if present.contract_id != target.contract_id:
        raise ModelSwitched
    return present


def newest(connection: Connection, target: Collection) -> Collection:
    """The collection, or the twin of one, with every change up to now. Raises as `find_again` does."""
    if target.hidden:
        return collections.find_by_key(connection, target.key)
    return find_again(connection, target)


def check_present(connection: Connection, target: Collection) -> None:
    """Raise ModelSwitched when the vectors just searched are gone for another model's took their place."""
    try:
        find_again(connection, target)
    except NotFound:
        return


def settled(work: Callable[[], T]) -> T:
    """The result of `work`, which is done anew when it meets a switch of models (once, as good as always)."""
    for _ in range(ATTEMPTS - 1):
        try:
            return work()
        except ModelSwitched:
            continue
    return work()
