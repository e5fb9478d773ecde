"""Opens the vector store that the settings name. Each is imported only where it is used."""

from __future__ import annotations

from facerec.config import Settings
from facerec.db import Database
from facerec.errors import ConfigurationError
from facerec.vectors.base import ChangeFeed, VectorStore


def open_vectors(settings: Settings, database: Database, feed: ChangeFeed) -> VectorStore:
    """Open the store of `VECTOR_STORE` over `database`, which `feed` reads.

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
        from facerec.vectors.pgvector import PgvectorStore

        return PgvectorStore(database)
    raise ConfigurationError(
        f"VECTOR_STORE={settings.vector_store} can not be opened over {database.url.get_backend_name()}."
    )
