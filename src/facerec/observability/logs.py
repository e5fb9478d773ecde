"""The log: one line a record on standard error, with the id of the request it is about."""

from __future__ import annotations

import logging

from facerec.observability import request_at_work


class _RequestIdFilter(logging.Filter):
    """Puts the request's correlation id on every log record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Annotate, never drop."""
        context = request_at_work()
        record.request_id = context.request_id if context else "-"
        return True


def configure_logging(level: str, *, process: str = "") -> None:
    """Log to standard error, one line a record, with the correlation id. No biometric data is ever logged.

    process: what each line calls this process, where there are several.
    """
    # What the lines do not show need not be asked of the system for each of them.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler()
    handler.addFilter(_RequestIdFilter())
    own = process.replace("%", "%%") + " " if process else ""
    form = f"%(asctime)s %(levelname)s {own}%(name)s [%(request_id)s] %(message)s"
    handler.setFormatter(logging.Formatter(form))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # What uvicorn tells of its own start helps nobody.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
