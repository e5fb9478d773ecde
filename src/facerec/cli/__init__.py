"""The command line: the third door over the same use cases.

Results go to standard output (JSON with --json), messages to standard error. Exit code 0: done; 1: it could
not be done, and one line says why; 2: the command was not understood; 130: interrupted.
"""

from __future__ import annotations

import gc
import signal
import sys


def from_terminal() -> bool:
    """Whether this process belongs to a terminal. To be asked at the start: a closed one is none any more."""
    return sys.stdin is not None and sys.stdin.isatty()


def main() -> None:
    """Run the command line."""
    # A reload (`systemctl reload`) may come before anything is imported that can take it.
    if "serve" in sys.argv and not from_terminal():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # What a command imports stays until the process ends. Looking for garbage among it, on the way and at the
    # end, would take a quarter of a short command's time.
    gc.disable()
    from facerec.cli.commands import app
    from facerec.cli.output import one_line_errors

    with one_line_errors():
        app()
