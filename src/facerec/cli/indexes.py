"""`facerec index-status`, `facerec reindex`, `facerec verify`: the vector store beside the database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Annotated

import numpy as np
import typer

from facerec.bootstrap import Indexes, open_indexes
from facerec.cli.output import AsJson, counting, note, print_json, print_table, say
from facerec.config import read_settings
from facerec.domain import Collection, EntityKind
from facerec.errors import NotFound, VectorStoreUnavailable
from facerec.vectors.base import VectorStore
from facerec.vectors.embedded import EmbeddedStore
from facerec.vectors.remote.store import RemoteStore

MOST_SHOWN = 20
"""Differences shown of a collection; their number is told in full."""

Name = Annotated[str | None, typer.Argument(help="One collection (default: all of them).")]


def index_status(as_json: AsJson = False) -> None:
    """Show what the vector store holds of each collection, and how far it is behind."""
    settings = read_settings()
    with open_indexes(settings) as indexes:
        rows = [
            (collection, kind, *indexes.vectors.status(collection, kind))
            for collection in indexes.collections()
            for kind in EntityKind
        ]
        store = indexes.vectors
        condition = asdict(store.condition()) if isinstance(store, RemoteStore) else None
    if as_json:
        print_json(
            {
                "Store": settings.vector_store,
                "Condition": condition,
                "Indexes": [
                    {
                        "CollectionId": collection.name,
                        "Kind": kind,
                        "Vectors": count,
                        "ChangeNumber": number,
                        "Behind": max(0, collection.change_number - number),
                    }
                    for collection, kind, count, number in rows
                ],
            }
        )
        return
    say(f"Vector store: {settings.vector_store}.")
    print_table(
        ("collection", "kind", "vectors", "built to change", "changes behind"),
        [
            (collection.name, kind, count, number, max(0, collection.change_number - number))
            for collection, kind, count, number in rows
        ],
    )


def reindex(collection: Name = None, as_json: AsJson = False) -> None:
    """Build the index anew from the database. Searches go on meanwhile, in the old one."""
    rebuilt = []
    with open_indexes(read_settings()) as indexes:
        for target in _chosen(indexes, collection):
            kinds = (EntityKind.FACE, EntityKind.USER)
            with counting(f"indexing {target.name}", target.face_count + target.user_count) as advance:
                for kind in kinds:
                    _rebuild(indexes.vectors, target, kind, advance)
            counts = [indexes.vectors.status(target, kind)[0] for kind in kinds]
            rebuilt.append((target.name, *counts))
    if as_json:
        print_json([{"CollectionId": name, "Faces": f, "Users": u} for name, f, u in rebuilt])
        return
    for name, face_count, user_count in rebuilt:
        say(f"{name}: {face_count} faces and {user_count} users indexed.")


def verify(collection: Name = None, as_json: AsJson = False) -> None:
    """Compare the index with the database, vector by vector. Exit code 1 where they differ."""
    found: dict[str, list[str]] = {}
    with open_indexes(read_settings()) as indexes:
        chosen = _chosen(indexes, collection)
        with counting("comparing", 2 * len(chosen)) as advance:
            for target in chosen:
                lines = []
                for kind in EntityKind:
                    lines += indexes.vectors.verify(target, kind)
                    advance()
                found[target.name] = lines
    if as_json:
        print_json([{"CollectionId": name, "Differences": lines} for name, lines in found.items()])
    else:
        for name, lines in found.items():
            say(f"{name}: {len(lines)} differences." if lines else f"{name}: as the database.")
            for line in lines[:MOST_SHOWN]:
                note(f"  {line}")
    if any(found.values()):
        raise typer.Exit(1)


def _chosen(indexes: Indexes, name: str | None) -> Sequence[Collection]:
    """The collection of that name, or all. Raises NotFound."""
    present = indexes.collections()
    chosen = [each for each in present if name is None or each.name == name]
    if name is not None and not chosen:
        raise NotFound(f"The collection id: {name} does not exist")
    return chosen


def _rebuild(
    store: VectorStore, collection: Collection, kind: EntityKind, advance: Callable[[], None]
) -> None:
    """Build one index anew. Raises VectorStoreUnavailable, StorageError."""

    def seen(count: int) -> None:
        for _ in range(count):
            advance()

    if isinstance(store, RemoteStore):
        if not store.rebuild(collection, kind, seen):
            raise VectorStoreUnavailable(f"Another process rebuilds {collection.name}. Try again later.")
        return
    if isinstance(store, EmbeddedStore):  # with pgvector each vector is in its row's own transaction
        if kind is EntityKind.FACE:
            store.drop(collection.key)
        none = np.empty((0, collection.dimension), np.float32)
        store.search(collection, kind, none, limit=1, min_cosine=1.0)
    seen(collection.face_count if kind is EntityKind.FACE else collection.user_count)
