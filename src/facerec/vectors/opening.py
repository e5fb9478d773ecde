"""Opens the vector store that the settings name. Each is imported only where it is used."""

from __future__ import annotations

from collections.abc import Callable

from facerec.config import Settings
from facerec.db import Database
from facerec.errors import ConfigurationError
from facerec.vectors.base import VectorStore
from facerec.vectors.remote.store import RemoteStore
from facerec.vectors.remote.target import Ledger, PagedFeed, Target


def open_vectors(
    settings: Settings, database: Database, feed: PagedFeed, ledger: Callable[[str], Ledger]
) -> VectorStore:
    """Open the store of `VECTOR_STORE` over `database`, which `feed` reads.

    ledger: gives the ledger of a store outside the database, by the store's name. Such a store is kept up to
    date in the background until it is closed.

    Where embeddings are sealed at rest no index lies on a disk: the embedded store keeps no snapshot then.
    Raises ConfigurationError when what the store needs is not set or not installed, or when it would store
    embeddings that are not sealed; and StorageError.
    """
    sealed = database.cipher is not None
    if sealed and settings.vector_store != "embedded":
        raise ConfigurationError(
            f"VECTOR_STORE={settings.vector_store} would store embeddings as they are, and "
            "FACEREC_EMBEDDING_KEY asks for sealed ones: VECTOR_STORE=embedded keeps them in memory"
        )
    if settings.vector_store == "embedded":
        from facerec.vectors.embedded import EmbeddedStore

        return EmbeddedStore(
            settings.data_dir / "vectors",
            feed,
            threads=settings.threads,
            snapshots="never" if sealed else settings.index_snapshot,
        )
    if settings.vector_store == "pgvector":
        if database.name != "postgresql":
            raise ConfigurationError(
                "VECTOR_STORE=pgvector searches in PostgreSQL: DATABASE_URL has to name it, this is "
                f"{database.name}"
            )
        from facerec.vectors.pgvector import PgvectorStore

        return PgvectorStore(database)
    store_id = feed.store_id()
    target = (
        _qdrant(settings, store_id) if settings.vector_store == "qdrant" else _pinecone(settings, store_id)
    )
    store = RemoteStore(target, feed, ledger(_place(settings)), patience=settings.vector_store_seconds)
    store.start()
    return store


def _qdrant(settings: Settings, store_id: str) -> Target:
    from facerec.vectors.qdrant import QdrantTarget, open_client

    return QdrantTarget(
        open_client(
            url=settings.qdrant_url,
            api_key=settings.qdrant_api_key,
            path=settings.qdrant_path,
            seconds=settings.vector_store_seconds,
        ),
        prefix=settings.qdrant_collection_name,
        store_id=store_id,
        local=settings.qdrant_path is not None,
        m=settings.qdrant_hnsw_m,
        ef_construct=settings.qdrant_hnsw_ef_construct,
        ef=settings.qdrant_hnsw_ef,
        quantization=settings.qdrant_quantization,
    )


def _pinecone(settings: Settings, store_id: str) -> Target:
    from facerec.vectors.pinecone import PineconeTarget, open_client

    return PineconeTarget(
        open_client(
            api_key=settings.pinecone_api_key,
            host=settings.pinecone_host,
            seconds=settings.vector_store_seconds,
        ),
        prefix=settings.pinecone_index_name,
        environment=settings.pinecone_environment,
        store_id=store_id,
    )


def _place(settings: Settings) -> str:
    """Which store, and where in it: what is there is this database's, wherever its server is moved to."""
    name = settings.qdrant_collection_name
    if settings.vector_store == "pinecone":
        name = settings.pinecone_index_name
    return f"{settings.vector_store}:{name}"
