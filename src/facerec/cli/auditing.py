"""The command line's place in the audit log. Who does it is the user of the operating system."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterable, Iterator

from facerec.access import Caller
from facerec.config import Settings
from facerec.db import Database
from facerec.observability import RequestContext
from facerec.services.audit import Act, AuditLog

DOOR = "cli"


@contextlib.contextmanager
def audited(
    log: AuditLog,
    command: str,
    collection: str | None = None,
    *,
    act: Act = Act.CHANGE,
    faces: Iterable[str] = (),
    people: Iterable[str] = (),
) -> Iterator[RequestContext]:
    """Write down what a command does in the block; what it turns out to be about is added to the context.

    Raises StorageError for a change that was made and can not be written.
    """
    context = RequestContext(
        caller=Caller(key_id=operator()), collection=collection, faces=list(faces), people=list(people)
    )
    with log.writing(context, act=act, door=DOOR, operation=command):
        yield context


@contextlib.contextmanager
def opened_log(settings: Settings, database: Database) -> Iterator[AuditLog]:
    """The audit log of a command that opens the database alone."""
    with contextlib.closing(AuditLog(database, settings.audit)) as log:
        yield log


def operator() -> str:
    """Who runs the command, in place of a key's id. By the system's own word: an environment can be set."""
    try:
        return f"user:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # a container's user may have no name
        return f"user:{os.getuid()}"
