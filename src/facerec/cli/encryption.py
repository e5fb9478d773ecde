"""`facerec encryption`: how the stored embeddings are sealed, and sealing them anew."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Annotated

import typer

from facerec.cli.output import AsJson, counting, note, print_json, say
from facerec.config import read_settings
from facerec.db.sealed import ValueCipher
from facerec.metastore import open_metastore
from facerec.services.encryption import STEP, EncryptionService, Rewritten

encryption_app = typer.Typer(
    no_args_is_help=True, help="Seal the stored embeddings, change their key, or open them for good."
)


@encryption_app.command()
def status(as_json: AsJson = False) -> None:
    """Count the embeddings that are sealed by the first key, by another one, and not at all."""
    with _encryption() as (encryption, cipher):
        rows = encryption.count()
    key = cipher.first.hex() if cipher else None
    if as_json:
        print_json({"Key": key, "Sealed": rows.newest, "SealedByOlderKeys": rows.older, "Plain": rows.plain})
        return
    if key is None:
        say(f"No key is set. The {rows.plain} embeddings are plain.")
        return
    say(f"New embeddings are sealed by the key {key}.")
    say(f"{rows.newest} embeddings are sealed by it, {rows.older} by other keys, {rows.plain} are plain.")
    if rows.older + rows.plain:
        say("`facerec encryption seal` seals them all by it.")


@encryption_app.command()
def seal(as_json: AsJson = False) -> None:
    """Seal by the first key what is plain or sealed by another one; the service may serve meanwhile.

    Every process has to have the new key before, and no older one is needed after. Broken off, it is begun
    again.
    """
    _rewrite(lambda encryption, advance: encryption.seal(advance), "Sealed", "sealed anew", as_json=as_json)


@encryption_app.command()
def unseal(
    yes: Annotated[bool, typer.Option("--yes", help="Embeddings are to lie in the database as they are.")],
    as_json: AsJson = False,
) -> None:
    """Open every embedding for good, so that no key is needed; stop the service before."""
    if not yes:
        raise typer.BadParameter("say --yes: the embeddings will be readable by whoever has the database")
    _rewrite(lambda encryption, advance: encryption.unseal(advance), "Opened", "opened", as_json=as_json)


def _rewrite(
    work: Callable[[EncryptionService, Callable[[int], None]], Rewritten],
    name: str,
    done: str,
    *,
    as_json: bool,
) -> None:
    with _encryption() as (encryption, _):
        rows = encryption.count()
        steps = -(-(rows.newest + rows.older + rows.plain) // STEP)
        with counting(f"embeddings, {STEP} at a time", steps) as advance:
            written = work(encryption, lambda _looked_at: advance())
    if as_json:
        print_json({name: written.count, "Erased": written.erased})
        return
    say(f"{written.count} embeddings were {done}.")
    if not written.erased:
        note("Their older form is still in the database's log, where a long reading keeps it.")


@contextlib.contextmanager
def _encryption() -> Iterator[tuple[EncryptionService, ValueCipher | None]]:
    """The embeddings of the settings' database; no model is loaded."""
    with contextlib.closing(open_metastore(read_settings())) as database:
        yield EncryptionService(database), database.cipher
