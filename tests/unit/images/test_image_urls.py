"""Images behind web addresses: real HTTP on this machine; what may be asked, and where it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from facerec.domain import UrlImage
from facerec.errors import ImageTooLarge, InvalidImageUrl
from facerec.images.url import UrlSource, is_public

LIMIT = 1000


class Site(BaseHTTPRequestHandler):
    """Answers by path; `asked` collects (path, Host header)."""

    asked: list[tuple[str, str]]
    stopped: threading.Event

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Host"]))
        name, _, argument = self.path.lstrip("/").partition("/")
        getattr(self, f"give_{name}", self.give_missing)(argument)

    def give_missing(self, _: str) -> None:
        self.send_error(404)

    def give_image(self, size: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", size)
        self.end_headers()
        self.wfile.write(b"x" * int(size))

    def give_endless(self, _: str) -> None:
        self.send_response(200)
        self.end_headers()
        for _number in range(100):
            self.wfile.write(b"x" * 100)

    def give_short(self, _: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "500")
        self.end_headers()
        self.wfile.write(b"x")

    def give_packed(self, _: str) -> None:
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(b"x")

    def give_drip(self, _: str) -> None:
        """One byte of a header every twentieth of a second."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not self.stopped.wait(0.05):
            try:
                self.wfile.write(b"x")
            except OSError:
                return

    def give_to(self, place: str) -> None:
        self.send_response(302)
        self.send_header("Location", place if place.startswith("http") else f"/{place}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def give_loop(self, _: str) -> None:
        self.give_to("loop")

    def give_nowhere(self, _: str) -> None:
        self.send_response(302)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


@contextmanager
def site(address: str = "127.0.0.1") -> Iterator[tuple[str, list[tuple[str, str]]]]:
    asked: list[tuple[str, str]] = []
    stopped = threading.Event()
    handler = type("Handler", (Site,), {"asked": asked, "stopped": stopped})
    server = ThreadingHTTPServer((address, 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://localhost:{server.server_address[1]}", asked
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def url() -> Iterator[str]:
    with site() as (address, _):
        yield address


def source(*hosts: str, private: bool = True, seconds: float = 30) -> UrlSource:
    return UrlSource(allowed_hosts=hosts, allow_private=private, max_bytes=LIMIT, seconds=seconds)


def allowed(url: str) -> UrlSource:
    return source(url.removeprefix("http://"))


def read(url: str, path: str) -> bytes:
    return allowed(url).read(UrlImage(f"{url}/{path}"))


def test_an_image_of_an_allowed_host_is_read(url: str) -> None:
    assert read(url, f"image/{LIMIT}") == b"x" * LIMIT
    assert read(url, "to/image/7") == b"x" * 7


@pytest.mark.parametrize("path", [f"image/{LIMIT + 1}", "endless"])
def test_too_many_bytes_are_not_read(url: str, path: str) -> None:
    with pytest.raises(ImageTooLarge, match="at most 1000 bytes"):
        read(url, path)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing", "status 404"),
        ("short", "broke off"),
        ("packed", "packed bytes"),
        ("loop", "more than 5 times"),
        ("nowhere", "leads nowhere"),
        ("to/http://elsewhere.example/x", "Images from elsewhere.example, port 80, are not allowed"),
        ("to/ftp", "status 404"),
    ],
)
def test_what_is_no_image_is_refused(url: str, path: str, reason: str) -> None:
    with pytest.raises(InvalidImageUrl, match=reason):
        read(url, path)


def test_a_host_that_sends_a_byte_now_and_then_is_left(url: str) -> None:
    begun = time.monotonic()
    with pytest.raises(InvalidImageUrl, match="took too long"):
        source(url.removeprefix("http://"), seconds=0.3).read(UrlImage(f"{url}/drip"))
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("ftp://images.example/a.jpg", "begins with http"),
        ("https:///a.jpg", "begins with http"),
        ("file:///etc/passwd", "begins with http"),
        ("http://me:secret@images.example/a.jpg", "user name or password"),
        ("http://images.example:99999/a.jpg", "can not be read"),
        ("http://images.example/a b.jpg", "percent-encoded"),
        ("http://images.example/a\r\nHost: other", "percent-encoded"),
        ("http://images.example\\@other.example/", "percent-encoded"),
        ("http://images.example/" + "a" * 2048, "at most 2048"),
        ("http://other.example/a.jpg", "not allowed"),
        ("http://images.example:8080/a.jpg", "not allowed"),
        ("http://notimages.example/a.jpg", "not allowed"),
        ("http://example/a.jpg", "not allowed"),
    ],
)
def test_addresses_that_may_not_be_asked(address: str, reason: str) -> None:
    with pytest.raises(InvalidImageUrl, match=reason):
        source("images.example").read(UrlImage(address))


def test_no_host_is_allowed_by_default_and_patterns_allow_what_they_say() -> None:
    with pytest.raises(InvalidImageUrl, match="not allowed"):
        source().read(UrlImage("http://images.example/"))
    for pattern, host, fits in (
        ("*.example", "a.b.example", True),
        ("*.example", "example", False),
        ("*.example", "badexample", False),
        ("A.Example.", "a.example", True),
        ("*", "anything.invalid", True),
    ):
        expected = "not give an image" if fits else "not allowed"
        with pytest.raises(InvalidImageUrl, match=expected):
            source(pattern, private=False).read(UrlImage(f"http://{host}.:80/x"))


def test_private_addresses_are_not_connected_to_unless_allowed() -> None:
    with site() as (url, asked):
        host = url.removeprefix("http://")
        port = host.partition(":")[2]
        for name in (host, f"127.0.0.1:{port}", f"[::ffff:127.0.0.1]:{port}", f"0x7f.1:{port}"):
            guarded = source("*:" + port, private=False)
            with pytest.raises(InvalidImageUrl, match=r"private network|did not give"):
                guarded.read(UrlImage(f"http://{name}/image/1"))
        assert asked == []
        assert source("*:" + port).read(UrlImage(f"{url}/image/1")) == b"x"
        assert asked == [("/image/1", host)]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("192.168.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:93.184.215.14", True),
        ("2002:0a00:0001::1", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::5db8:d70e", True),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public
