"""The log: one line a record on standard error, with the id of the request that it is about.

What a record may hold is decided where it is made; libraries, whose records nobody here has looked through
(what is sent, to whom, with which secret), are heard from warnings on alone.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import orjson

from facerec.observability import request_at_work

OWN = "facerec"
"""The logger above all of the service's own."""

FIELDS = "fields"
"""Attribute of a record, given by `extra`: what JSON lines tell beside the message, by name."""


def configure_logging(level: str, *, form: str = "text", process: str = "") -> None:
    """Log to standard error, with the correlation id. No biometric data is ever logged.

    level: of the service's own records. form: text or json. process: what each line calls this process, where
    there are several.
    """
    # What the lines do not show need not be asked of the system for each of them.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler()
    handler.addFilter(_RequestIdFilter())
    handler.setFormatter(_JsonLines(process) if form == "json" else _text_lines(process))
    own = logging.getLevelNamesMapping()[level]
    logging.basicConfig(level=max(own, logging.WARNING), handlers=[handler], force=True)
    logging.getLogger(OWN).setLevel(own)


class _RequestIdFilter(logging.Filter):
    """Puts the request's correlation id on every log record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Annotate, never drop."""
        context = request_at_work()
        record.request_id = context.request_id if context else "-"
        return True


def _text_lines(process: str) -> logging.Formatter:
    own = process.replace("%", "%%") + " " if process else ""
    return logging.Formatter(f"%(asctime)s %(levelname)s {own}%(name)s [%(request_id)s] %(message)s")


class _JsonLines(logging.Formatter):
    """An object on each line; a stack trace is a text in it."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": getattr(record, "request_id", "-"),
        }
        if self._process:
            line["process"] = self._process
        line |= getattr(record, FIELDS, {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()
