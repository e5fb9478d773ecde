"""The HTTP server: a listening socket, bounds on connections that no application sees, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from facerec.api.link import WorkerEnd
from facerec.api.tls import HANDSHAKE_SECONDS
from facerec.api.watching import Draining
from facerec.errors import ConfigurationError

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection stays open: longer than load balancers usually do, so that they close first."""

SHUTDOWN_SECONDS = 25
"""How long requests at work may take to finish once the service is told to stop. Orchestrators wait 30."""

PATIENCE_SECONDS = SHUTDOWN_SECONDS + 3
"""How long a worker may take to end once it is told to."""

BACKLOG = 2048

CONNECTIONS_PER_REQUEST = 4
"""Connections open at once for each request that may wait; clients keep idle ones for later."""

FAREWELL_SECONDS = 1.0
"""How long an idle client may take to close a connection with TLS when the service ends."""

LAST_REQUEST_SECONDS = 0.1
"""How long who has been told to stop waits for one more request of each connection, after whose answer the
connection closes: a client that asks without pause goes to another one, and loses none."""

_CLOSE = (b"connection", b"close")


class JoinedWrites:
    """The transport of one answer with a body: its head leaves together with the first piece of its body.

    uvicorn writes them one after the other, each a packet that wakes the client.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None
        """The head that waits; empty once it has left."""

    def write(self, data: bytes) -> None:
        """Keep the head of the answer (but not of an interim one, 1xx) until what comes next."""
        if self._head is None and not data.startswith(b"HTTP/1.1 1"):
            self._head = data
            return
        self._transport.write(self._head + data if self._head else data)
        if self._head is not None:
            self._head = b""

    def close(self) -> None:
        """Close after what was written, a head without its body too."""
        if self._head:
            self.write(b"")
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether nothing more can be written."""
        return self._transport.is_closing()


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which sets no bound on how long or how large a request's head is."""

    head_seconds = 15.0
    """How long a request line with its headers may take, from the connection or its first byte on."""
    head_bytes = 64 * 1024
    """Most bytes of a request line with its headers."""

    on_close: Callable[[], None] | None = None
    """Told when the connection has ended."""

    _head_timer: asyncio.TimerHandle | None = None
    _received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect the head of a first request."""
        super().connection_made(transport)
        self._expect_head()

    def on_message_begin(self) -> None:
        """Expect the rest of the head that begins."""
        super().on_message_begin()
        if self._head_timer is None:
            self._expect_head()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._stop_expecting()
        super().on_headers_complete()
        # The answer is not written before the event loop's next turn.
        if self.scope["method"] != "HEAD":
            self.cycle.transport = JoinedWrites(self.transport)  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Count the bytes of an incomplete head."""
        super().data_received(data)
        if self._head_timer is not None:
            self._received += len(data)
            if self._received > self.head_bytes and not self.transport.is_closing():
                self.send_400_response("The request's headers are too large.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come."""
        self._stop_expecting()
        super().connection_lost(exc)
        if self.on_close is not None:
            self.on_close()

    def shutdown(self) -> None:
        """Close an idle connection, or the one at work after its answer.

        With TLS the end waits for the client's word, which an idle one does not give for long.
        """
        super().shutdown()
        if self.transport.is_closing() and self.transport.get_extra_info("sslcontext") is not None:
            self.loop.call_later(FAREWELL_SECONDS, self.transport.abort)

    def _expect_head(self) -> None:
        self._received = 0
        self._head_timer = self.loop.call_later(self.head_seconds, self._give_up)

    def _stop_expecting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        self.transport.close()


def bind(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one. Raises ConfigurationError when the address can not be had."""
    opened: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
    except OSError as error:
        if opened is not None:
            opened.close()
        raise ConfigurationError(f"Can not listen on {host} port {port}: {error.strerror}.") from error
    return opened


def address_of(listening: socket.socket, *, tls: bool = False) -> str:
    """The address that a client on this machine reaches the socket at: http(s)://host:port."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104  (compared, not bound)
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    named = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"https://{named}" if tls else f"http://{named}"


def run(
    app: ASGIApp,
    listening: socket.socket,
    draining: Draining,
    *,
    drain_seconds: float,
    max_connections: int,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Answer requests until SIGTERM or SIGINT; then finish the ones at work, within `SHUTDOWN_SECONDS`.

    draining: told at the signal; drain_seconds: how long new requests are taken after it, at least
    `LAST_REQUEST_SECONDS`. A second signal ends that. tls: answer by HTTPS.
    """
    _Server(_configuration(app, max_connections, tls), draining, drain_seconds).run(sockets=[listening])


def run_worker(
    app: ASGIApp,
    link: WorkerEnd,
    draining: Draining,
    *,
    pack: str,
    max_connections: int,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Answer the requests of connections that the supervisor hands over, until it says that it is enough.

    Then finish as `run` does. On SIGTERM the supervisor is asked to say so. pack: name to report as ready.
    draining: told when the supervisor says that the end is near.
    """
    _Worker(_configuration(app, max_connections, tls), link, draining, pack).run()


class _Server(uvicorn.Server):
    """uvicorn's server, which goes on for a while when it is told to stop."""

    def __init__(self, config: uvicorn.Config, draining: Draining, drain_seconds: float) -> None:
        super().__init__(config)
        self._draining = draining
        self._drain_seconds = max(drain_seconds, LAST_REQUEST_SECONDS)
        self._told: tuple[int, FrameType | None] | None = None
        self._until = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, after the time for load balancers to look away."""
        self._draining.begin()
        _close_after_answers(self)
        if self._told is None:
            self._told = sig, frame
            self._until = time.monotonic() + self._drain_seconds
        else:
            self._told = None
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; True: it is time to stop."""
        if self._told is not None and time.monotonic() >= self._until:
            self.handle_exit(*self._told)
        return await super().on_tick(counter)


class _Worker(uvicorn.Server):
    """uvicorn's server for connections that another process has accepted."""

    def __init__(self, config: uvicorn.Config, link: WorkerEnd, draining: Draining, pack: str) -> None:
        super().__init__(config)
        self._link = link
        self._draining = draining
        self._pack = pack
        self._joining: set[asyncio.Task[None]] = set()
        self._asked = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen nowhere; say that connections are welcome."""
        await super().startup(sockets=[])
        loop = asyncio.get_running_loop()

        def in_loop(work: Callable[..., object], *arguments: object) -> None:
            with contextlib.suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(work, *arguments)

        self._link.serve(
            self._pack,
            take=lambda connection: in_loop(self._take, connection),
            stop=lambda: in_loop(self._stop),
            drain=lambda: in_loop(self._drain),
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ask the supervisor for the word to stop; when that is taken too long, stop on the next signal."""
        if self._asked:
            super().handle_exit(sig, frame)
        self._asked = True
        self._link.ask_to_leave()

    def _take(self, connection: socket.socket) -> None:
        task = asyncio.get_running_loop().create_task(self._join(connection))
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)

    async def _join(self, connection: socket.socket) -> None:
        """Begin to answer on a connection."""
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol,
                connection,
                ssl=self.config.ssl,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if self.config.ssl else None,
            )
        except OSError:  # it has ended meanwhile
            connection.close()
            self._link.closed()

    def _protocol(self) -> BoundedHttpProtocol:
        protocol = BoundedHttpProtocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        protocol.on_close = self._link.closed
        return protocol

    def _drain(self) -> None:
        self._draining.begin()
        _close_after_answers(self)

    def _stop(self) -> None:
        self._drain()
        asyncio.get_running_loop().call_later(LAST_REQUEST_SECONDS, setattr, self, "should_exit", True)


def _close_after_answers(server: uvicorn.Server) -> None:
    """From now on each answer tells that its connection closes after it."""
    if _CLOSE not in server.config.encoded_headers:
        # Of these uvicorn makes the headers of all answers anew, once a second.
        server.config.encoded_headers.append(_CLOSE)
        server.server_state.default_headers = [*server.server_state.default_headers, _CLOSE]


def _configuration(app: ASGIApp, max_connections: int, tls: ssl.SSLContext | None) -> uvicorn.Config:
    options: dict[str, Any] = {
        "http": BoundedHttpProtocol,
        "ws": "none",
        "lifespan": "off",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "headers": [("Server", "facerec")],
        "proxy_headers": False,
        "limit_concurrency": max_connections,
        "timeout_keep_alive": KEEP_ALIVE_SECONDS,
        "timeout_graceful_shutdown": SHUTDOWN_SECONDS,
        "backlog": BACKLOG,
    }
    configuration = uvicorn.Config(app, **options)
    configuration.load()
    configuration.ssl = tls
    return configuration
