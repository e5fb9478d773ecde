"""The server's own bounds, on a real socket: heads that never end, and connections that say nothing."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from facerec.api.server import BoundedHttpProtocol, JoinedWrites, address_of, bind
from facerec.errors import ConfigurationError


class HastyProtocol(BoundedHttpProtocol):
    """As in service, with a shorter patience."""

    head_seconds = 0.3


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await request.body())


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    """A server of the hasty protocol, in a thread."""
    listening = bind("127.0.0.1", 0)
    listening.listen()
    app = Starlette(routes=[Route("/", echo, methods=["POST"])])
    config = uvicorn.Config(app, http=HastyProtocol, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield listening.getsockname()[:2]
    server.should_exit = True
    thread.join()


def everything(connection: socket.socket) -> bytes:
    """What is received until the server closes the connection."""
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


@pytest.mark.parametrize("begun", [b"", b"POST / HTTP/1.1\r\nHost: a\r\n"])
def test_a_head_that_does_not_come_ends_the_connection(address: tuple[str, int], begun: bytes) -> None:
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(begun)
        assert everything(connection) == b""


def test_a_second_head_that_does_not_come_ends_the_connection(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nabPOST / HT")
        assert everything(connection).endswith(b"\r\n\r\nab")


def test_a_body_has_another_patience(address: tuple[str, int]) -> None:
    """The head's bound ends with the head."""
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 200000\r\n\r\n"
        )
        threading.Event().wait(HastyProtocol.head_seconds * 2)
        connection.sendall(b"x" * 200_000)
        assert everything(connection).endswith(b"x" * 200_000)


def test_a_head_that_is_too_large(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nX: " + b"x" * (BoundedHttpProtocol.head_bytes + 1))
        assert everything(connection).startswith(b"HTTP/1.1 400")


class Recorder(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def test_an_answer_leaves_in_one_piece() -> None:
    recorder = Recorder()
    transport = JoinedWrites(recorder)
    transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert recorder.written == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
    assert len(recorder.written) == 1
    transport.write(b"HTTP/1.1 as text")
    transport.write(b"HTTP/1.1 and more")
    assert recorder.written[1:] == [b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 as text", b"HTTP/1.1 and more"]
    transport.close()
    assert recorder.closed
    assert transport.is_closing()
    assert len(recorder.written) == 3


def test_a_head_whose_body_never_comes_leaves_when_the_connection_closes() -> None:
    recorder = Recorder()
    transport = JoinedWrites(recorder)
    transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
    transport.close()
    assert (recorder.written, recorder.closed) == ([b"HTTP/1.1 200 OK\r\n\r\n"], True)


def test_a_question_for_the_head_alone_is_answered(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert everything(connection).startswith(b"HTTP/1.1 405")


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
            b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"ab")
        assert everything(connection).endswith(b"\r\n\r\nab")


def test_addresses() -> None:
    for host, shown in (("127.0.0.1", "http://127.0.0.1:"), ("0.0.0.0", "http://127.0.0.1:")):
        with bind(host, 0) as listening:
            assert address_of(listening) == f"{shown}{listening.getsockname()[1]}"


def test_an_address_that_can_not_be_had() -> None:
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigurationError, match=f"Can not listen on 127.0.0.1 port {port}: Address already"
        ):
            bind("127.0.0.1", port)
    with pytest.raises(ConfigurationError, match=r"Can not listen on no-such-host\.invalid port 0"):
        bind("no-such-host.invalid", 0)
