"""An HTTP server that serves files as release pages do, and misbehaves on request."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class ArchiveServer:
    """What is served, how, and what was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    etag: str = '"one"'
    honours_range: bool = True
    drop_after: list[int] = field(default_factory=list)
    """For each coming answer: bytes of the body after which the connection is cut."""
    status: list[int] = field(default_factory=list)
    """Status of each coming answer, without a body."""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """(path, Range header) of each request."""
    address: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path, wanted = handler.path, handler.headers.get("Range")
        self.requests.append((path, wanted))
        if self.status:
            handler.send_response(self.status.pop(0))
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        if path in self.redirects:
            handler.send_response(302)
            handler.send_header("Location", self.redirects[path])
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        body = self.files.get(path)
        if body is None:
            handler.send_error(404)
            return
        self._send(handler, body, wanted)

    def _send(self, handler: BaseHTTPRequestHandler, body: bytes, wanted: str | None) -> None:
        start = 0
        condition = handler.headers.get("If-Range")
        if wanted and self.honours_range and condition in (None, self.etag):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{len(body)}")
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            handler.send_response(200)
        handler.send_header("ETag", self.etag)
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        sent = body[start:]
        if self.drop_after:
            handler.wfile.write(sent[: self.drop_after.pop(0)])
            handler.close_connection = True
            return
        with suppress(ConnectionError):  # a client that has seen enough hangs up
            handler.wfile.write(sent)


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[ArchiveServer]:
    """Serve on a free port of the loopback address; over TLS, as localhost, with a certificate file."""
    state = ArchiveServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    host = "https://localhost" if certificate else "http://127.0.0.1"
    state.address = f"{host}:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
