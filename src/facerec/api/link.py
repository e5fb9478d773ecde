"""What joins a supervisor and one of its workers: a pair of sockets, each end in one of the processes.

Down go connections, as descriptors, the word that the end is near, and the word to stop. Up goes that the
worker is ready, that a connection has ended, and that it would like to stop. A process that dies takes its
end with it, so neither is left alone without knowing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, Literal

_CONNECTION, _STOP = b"c", b"s"
_DRAIN: Final = b"d"
_log = logging.getLogger(__name__)

READY, CLOSED, LEAVING = "ready", "closed", "leaving"
"""What a worker says: that it answers requests (with the name of its model pack), that one connection has
ended, that it wants to be told to stop."""


class WorkerEnd:
    """A worker's end. Every method may be called from any thread."""

    def __init__(self, link: socket.socket, *, patience: float) -> None:
        """patience: seconds in which the process has to have ended once it is told to stop; see `watch`."""
        self._link = link
        self._patience = patience
        self._sending = threading.Lock()
        self._take: Callable[[socket.socket], None] | None = None
        self._stop: Callable[[], None] | None = None
        self._drain: Callable[[], None] | None = None

    def watch(self, stop: Callable[[], None]) -> None:
        """From now on `stop` is called, in a thread, when the supervisor says so or is no more.

        What does not end within the patience is ended: nothing outlives its supervisor for long.
        """
        self._stop = stop
        threading.Thread(target=self._read, name="supervisor", daemon=True).start()

    def serve(
        self,
        pack: str,
        take: Callable[[socket.socket], None],
        stop: Callable[[], None],
        drain: Callable[[], None],
    ) -> None:
        """Say that connections are welcome: `take` gets each, in a thread; `stop` as in `watch`, instead.

        drain: called, in a thread, when the end is near.
        """
        self._take, self._stop, self._drain = take, stop, drain
        self._say(f"{READY} {' '.join(pack.split())}")

    def closed(self) -> None:
        """Say that a connection has ended."""
        self._say(CLOSED)

    def ask_to_leave(self) -> None:
        """Ask for the word to stop: no connection is on its way then."""
        self._say(LEAVING)

    def _say(self, message: str) -> None:
        # A supervisor that is gone shows in `_read`.
        with contextlib.suppress(OSError), self._sending:
            self._link.sendall(message.encode() + b"\n")

    def _read(self) -> None:
        while (heard := self._next()) is not None:
            if heard == _DRAIN:
                if self._drain is not None:
                    self._drain()
            elif self._take is None:
                heard.close()
            else:
                self._take(heard)
        if self._stop is not None:
            self._stop()
        time.sleep(self._patience)
        os._exit(1)

    def _next(self) -> socket.socket | Literal[b"d"] | None:
        """The next connection, or _DRAIN; None for the word to stop, and for the end of the supervisor."""
        while True:
            try:
                message, descriptors, _, _ = socket.recv_fds(self._link, 1, 1)
            except OSError:
                return None
            if message == _DRAIN:
                return _DRAIN
            if message != _CONNECTION:
                return None
            if descriptors:
                return socket.socket(fileno=descriptors[0])
            # The system lets this process have no more descriptors, and has closed the connection.
            _log.warning("A connection was lost: this process has as many descriptors open as it may.")
            self.closed()


class SupervisorEnd:
    """The supervisor's end; for one thread alone, and never waiting."""

    def __init__(self, link: socket.socket) -> None:
        link.setblocking(False)
        self._link = link
        self._begun = b""
        self.ended = False
        """Whether the worker has let go of its end: it has died, or is about to."""

    def fileno(self) -> int:
        """Descriptor to watch: what can be read is for `messages`."""
        return self._link.fileno()

    def hand(self, connection: socket.socket) -> bool:
        """Give a connection to the worker, which has a descriptor of its own then; False where it takes none.

        It takes none when it is dead, or so busy that those handed to it fill the link.
        """
        try:
            socket.send_fds(self._link, [_CONNECTION], [connection.fileno()])
        except OSError:
            return False
        return True

    def drain(self) -> None:
        """Tell the worker that the end is near."""
        with contextlib.suppress(OSError):
            self._link.send(_DRAIN)

    def stop(self) -> None:
        """Tell the worker to finish what it has, and end."""
        with contextlib.suppress(OSError):
            self._link.send(_STOP)

    def messages(self) -> Iterator[tuple[str, str]]:
        """What the worker has said: READY with the name of its pack, CLOSED or LEAVING with nothing."""
        with contextlib.suppress(OSError):
            while content := self._link.recv(4096):
                *lines, self._begun = (self._begun + content).split(b"\n")
                for line in lines:
                    message, _, value = line.decode().partition(" ")
                    yield message, value
            self.ended = True

    def close(self) -> None:
        """Let go; a worker that still runs ends."""
        self._link.close()
