"""The engines of a service: the one of its model pack, and those of other packs that collections call for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from facerec.db import Database
from facerec.domain import Collection
from facerec.engine.base import Engine
from facerec.errors import ModelMismatch
from facerec.metastore import collections, model_migrations


class Engines:
    """Finds the engine of a collection's embedding contract. Safe to call from many threads.

    The cosine of two models' vectors means nothing, and similarities are calibrated for one model: so every
    use of a collection's vectors goes through `of`.
    """

    def __init__(
        self,
        default: Engine,
        database: Database,
        *,
        extra_packs: Sequence[str] = (),
        open_pack: Callable[[str], Engine] | None = None,
    ) -> None:
        """default: for new collections, and where no collection is named; not closed by `close`.

        extra_packs: more packs, as in MODEL_PATH, opened by `open_pack` when a collection of another contract
        is asked for. So are the packs of collections that are on their way to another model, or came by it.
        """
        self.default = default
        self._database = database
        self._extra_packs = tuple(extra_packs)
        self._open_pack = open_pack
        self._opening = threading.Lock()  # of the two fields below
        self._by_pack: dict[str, Engine] = {}
        self._by_contract = {default.contract.id: default}

    def of(self, collection: Collection) -> Engine:
        """The engine whose embeddings may be compared with the collection's; the first time it is loaded.

        Raises ModelMismatch where the service has no pack of that contract, PackError where one of its packs
        can not be used.
        """
        engine = self._by_contract.get(collection.contract_id)
        return self._open_for(collection) if engine is None else engine

    def close(self) -> None:
        """Close the engines that were opened here."""
        with self._opening:
            for engine in self._by_pack.values():
                engine.close()
            self._by_pack.clear()

    def _open_for(self, collection: Collection) -> Engine:
        with self._database.read() as connection:
            own_pack = collections.pack_of(connection, collection.key)
            named = model_migrations.packs_of(connection, collection.key)
        with self._opening:
            for pack in dict.fromkeys((*named, *self._extra_packs)):
                if collection.contract_id in self._by_contract:
                    break
                if self._open_pack is not None and pack not in self._by_pack:
                    engine = self._by_pack[pack] = self._open_pack(pack)
                    self._by_contract.setdefault(engine.contract.id, engine)
            engine_or_none = self._by_contract.get(collection.contract_id)
        if engine_or_none is not None:
            return engine_or_none
        runs = self.default.contract
        raise ModelMismatch(
            f"The collection id: {collection.name} was made with face model {collection.model_version} of "
            f"pack {own_pack} ({collection.dimension} dimensions); this service runs {runs.model_version} of "
            f"pack {runs.pack} ({runs.dimension} dimensions). Start it with the collection's pack "
            f"(MODEL_PATH={own_pack}) or with both (FACEREC_EXTRA_PACKS), have the collection embedded anew "
            f"(facerec migrate-model), or index the images into a new collection."
        )
