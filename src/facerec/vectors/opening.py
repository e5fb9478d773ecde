"""Opens the vector store that the settings name. Each is imported only where it is used."""

from __future__ import annotations

from facerec.config import Settings
from facerec.db import Database
from facerec.errors import ConfigurationError
from facerec.vectors.base import ChangeFeed, VectorStore


def open_vectors(settings: Settings, database: Database, feed: ChangeFeed) -> VectorStore:
    """Open the store of `VECTOR_STORE` over `database`, which `feed` reads.

    Raises ConfigurationError when what the store needs is not set or not installed, and StorageError.
    """
    if settings.vector_store == "embedded":
        from facerec.vectors.embedded import EmbeddedStore

        return EmbeddedStore(
            settings.data_dir / "vectors", feed, threads=settings.threads, snapshots=settings.index_snapshot
        )
    raise ConfigurationError(
        f"VECTOR_STORE={settings.vector_store} can not be opened over {database.url.get_backend_name()}."
    )
