"""What every use case on a collection asks first: does it exist, and do its vectors fit the engine."""

from __future__ import annotations

from facerec.db import Connection
from facerec.domain import Collection, EmbeddingContract
from facerec.errors import ModelMismatch
from facerec.metastore import collections


def find_comparable(
    connection: Connection, name: str, contract: EmbeddingContract, *, lock: bool = False
) -> Collection:
    """The collection, whose vectors may be compared with those of `contract`; `lock`: see `collections.find`.

    Raises NotFound, and ModelMismatch for a collection of another embedding contract: the cosine of two
    models' vectors means nothing, and similarities are calibrated for one model.
    """
    collection = collections.find(connection, name, lock=lock)
    if collection.contract_id != contract.id:
        pack = collections.pack_of(connection, collection.key)
        raise ModelMismatch(
            f"The collection id: {name} was made with face model {collection.model_version} of pack {pack} "
            f"({collection.dimension} dimensions); this service runs {contract.model_version} of pack "
            f"{contract.pack} ({contract.dimension} dimensions). Start it with the collection's pack "
            f"(MODEL_PATH={pack}), or index the images into a new collection."
        )
    return collection
