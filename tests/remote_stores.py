"""Opens stores outside the database for the tests of several rooms."""

from __future__ import annotations

from facerec.db import Database
from facerec.metastore.changes import DatabaseFeed
from facerec.metastore.scopes import ScopeLedger
from facerec.vectors import pinecone, qdrant
from facerec.vectors.remote.store import RemoteStore
from facerec.vectors.remote.target import Target


def remote_store(
    database: Database, target: Target, *, patience: float = 30.0, lease_seconds: float = 15.0
) -> RemoteStore:
    """A store over a database, that catches up only when it is asked to."""
    ledger = ScopeLedger(database, target.name)
    return RemoteStore(target, DatabaseFeed(database), ledger, patience=patience, lease_seconds=lease_seconds)


def qdrant_target(
    database: Database, *, url: str | None = None, path: str | None = None
) -> qdrant.QdrantTarget:
    """Qdrant's server, or its local mode."""
    return qdrant.QdrantTarget(
        qdrant.open_client(url=url, api_key=None, path=path, seconds=10),
        prefix="facerec-test",
        store_id=DatabaseFeed(database).store_id(),
        local=path is not None,
        m=16,
        ef_construct=200,
        ef=256,
        quantization=True,
    )


def pinecone_target(
    database: Database, host: str | None, key: str = "the key", *, seconds: float = 10.0
) -> pinecone.PineconeTarget:
    """Pinecone, or its double."""
    return pinecone.PineconeTarget(
        pinecone.open_client(api_key=key, host=host, seconds=seconds),
        prefix="facerec-test",
        environment="aws-us-east-1",
        store_id=DatabaseFeed(database).store_id(),
    )
