"""Sealing the embeddings that are stored: for the first time, by a new key, or no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from facerec.db import Connection, Database, erasure
from facerec.db.sealed import ValueCipher
from facerec.domain import RowKey
from facerec.errors import ConfigurationError, Conflict
from facerec.metastore import sealing
from facerec.metastore.sealing import SealedRows

STEP = 1000
"""Rows looked at in a transaction: some hundredths of a second, in which other writers wait."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What was done."""

    count: int
    """Embeddings that were written anew."""
    erased: bool
    """Whether their older form is gone from the database's files, or (PostgreSQL) out of every query's reach;
    False where readers of an older state kept it. It goes with the next clean-up then.
    """


Progress = Callable[[int], None]
"""Is told the number of embeddings looked at since the last call."""


class EncryptionService:
    """Brings the stored embeddings to the form that the keys ask for, while the service is at work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self) -> SealedRows:
        """How many embeddings are stored in which form. Reads every row. Raises StorageError."""
        cipher = self._database.cipher
        with self._database.read() as connection:
            return sealing.count_rows(connection, cipher.first if cipher else None)

    def seal(self, progress: Progress = lambda _looked_at: None) -> Rewritten:
        """Seal by the first key what is not yet.

        Broken off, it goes on where it is begun again. In the end no other key is needed any more. Raises
        ConfigurationError where no key is set, Conflict where another process stores otherwise meanwhile.
        """
        cipher = self._cipher()

        def some(connection: Connection, table: sa.Table, after: RowKey) -> tuple[RowKey, int] | None:
            return sealing.seal_some(connection, table, after, STEP, cipher.first)

        written = self._rewrite(some, progress)
        self._conclude(cipher.first)
        return Rewritten(written, erasure.let_go(self._database))

    def unseal(self, progress: Progress = lambda _looked_at: None) -> Rewritten:
        """Store every embedding as it is. The service must not run meanwhile.

        In the end no key is needed any more. Raises as `seal`.
        """
        self._cipher()

        def some(connection: Connection, table: sa.Table, after: RowKey) -> tuple[RowKey, int] | None:
            return sealing.open_some(connection, table, after, STEP)

        written = self._rewrite(some, progress)
        self._conclude(None)
        return Rewritten(written, erasure.let_go(self._database))

    def _cipher(self) -> ValueCipher:
        if self._database.cipher is None:
            raise ConfigurationError(
                "No key for embeddings is set: FACEREC_EMBEDDING_KEY_FILE or FACEREC_EMBEDDING_KEY gives it"
            )
        return self._database.cipher

    def _rewrite(
        self,
        some: Callable[[Connection, sa.Table, RowKey], tuple[RowKey, int] | None],
        progress: Progress,
    ) -> int:
        """Do it with all rows, some of them in each transaction."""
        written = 0
        for table in sealing.SEALED_TABLES:
            after = RowKey(0)
            while True:
                with self._database.write() as connection:
                    done = some(connection, table, after)
                if done is None:
                    break
                after, count = done
                written += count
                progress(STEP)
        return written

    def _conclude(self, first: bytes | None) -> None:
        """Note that no other key is needed, having seen so in the same transaction."""
        with self._database.write(sweep=True) as connection:
            rows = sealing.count_rows(connection, first)
            left = rows.older + (rows.plain if first else 0)
            if left:
                raise Conflict(
                    f"{left} embeddings were stored in another form meanwhile: a process still runs with "
                    "other keys. Start it anew with these, and repeat the command."
                )
            sealing.need_only(connection, first)
