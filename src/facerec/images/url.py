"""Images behind web addresses, from allowed hosts alone.

An address may come from a request or a list that somebody else wrote, and the service stands inside a network
that they do not: so hosts are allowed by name, what they resolve to is checked and then connected to as it
was checked (a second resolution could answer otherwise), each redirect is checked as the first address was,
and bytes and time are bounded from the first to the last.
"""

from __future__ import annotations

import http.client
import ipaddress
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from facerec.domain import UrlImage
from facerec.errors import ImageTooLarge, InvalidImageUrl, UrlUnavailable

DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_REDIRECTS = 5
MAX_URL = 2048
"""Characters of an address."""
CHUNK_BYTES = 256 * 1024
REDIRECTS = (301, 302, 303, 307, 308)

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address, which may be a private one."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Address:
    """A checked address: where to connect, and what to ask there."""

    url: SplitResult
    host: str
    port: int

    @property
    def target(self) -> str:
        """Path and query, as they stand in a request."""
        path = self.url.path or "/"
        return f"{path}?{self.url.query}" if self.url.query else path


class UrlSource:
    """Reads images over HTTP and HTTPS. No proxy is used, whatever the environment says. Thread-safe."""

    def __init__(
        self,
        *,
        allowed_hosts: Sequence[str],
        allow_private: bool,
        max_bytes: int,
        seconds: float,
        accept: str = "image/*",
    ) -> None:
        """allowed_hosts: names, "*.example.com" for all below example.com, "*" for all; with ":port" that
        port, else the scheme's own. allow_private: also addresses that are not public (loopback, private
        networks). max_bytes: of an image. seconds: for one image, redirects and all.
        """
        self._allowed = [_split_port(entry.strip().lower().rstrip(".")) for entry in allowed_hosts]
        self._allow_private = allow_private
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._accept = accept

    def check(self, url: str) -> None:
        """Raise InvalidImageUrl for an address that may not be asked, whatever lies there."""
        self._check(url)

    def read(self, reference: UrlImage) -> bytes:
        """The image's bytes. Raises as `copy` does."""
        chunks: list[bytes] = []
        self.copy(reference, chunks.append)
        return b"".join(chunks)

    def copy(self, reference: UrlImage, write: Callable[[bytes], object]) -> None:
        """Hand the image's bytes to `write`, piece by piece as they come.

        Raises InvalidImageUrl for every way in which it can not be had (UrlUnavailable where that may change
        by itself), ImageTooLarge above `max_bytes`: told by Content-Length before anything is read, and
        counted while reading.
        """
        guard = _TimeLimit(self._seconds)
        try:
            with guard:
                self._read(reference.url, guard, write)
                guard.check()  # a connection ended in the midst of the head reads as an empty answer
        except (OSError, http.client.HTTPException, ValueError) as error:
            # Whoever sent the address learns nothing of the network behind us.
            _log.info("an image's address did not give it: %s", type(error).__name__)
            reason = "took too long" if guard.expired else "did not give an image"
            raise UrlUnavailable(f"The image's address {reason}.") from error

    def _read(self, url: str, guard: _TimeLimit, write: Callable[[bytes], object]) -> None:
        secure = False
        for _ in range(MAX_REDIRECTS + 1):
            address = self._check(url)
            if secure and address.url.scheme != "https":
                raise InvalidImageUrl("The image's address leads from https to http.")
            secure = address.url.scheme == "https"
            with self._asked(address, guard) as answer:
                if answer.status not in REDIRECTS:
                    return self._body(answer, write)
                location = answer.getheader("Location")
            if not location:
                raise InvalidImageUrl("The image's address leads nowhere.")
            url = urljoin(url, location)
        raise InvalidImageUrl(f"The image's address leads on more than {MAX_REDIRECTS} times.")

    def _check(self, url: str) -> _Address:
        """The parts of an address that may be asked. Raises InvalidImageUrl."""
        if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
            raise InvalidImageUrl(
                f"An image's address is http(s)://host/path in ASCII, percent-encoded, of at most {MAX_URL} "
                f"characters."
            )
        try:
            parts = urlsplit(url)
            port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
        except ValueError as error:
            raise InvalidImageUrl("The image's address can not be read.") from error
        host = (parts.hostname or "").rstrip(".")
        if parts.scheme not in DEFAULT_PORTS or not host:
            raise InvalidImageUrl("An image's address begins with http:// or https:// and a host.")
        if parts.username is not None or parts.password is not None:
            raise InvalidImageUrl("An image's address may hold no user name or password.")
        if not any(_matches(host, port, parts.scheme, entry) for entry in self._allowed):
            raise InvalidImageUrl(
                f"Images from {host}, port {port}, are not allowed; FACEREC_URL_ALLOWED_HOSTS names what is."
            )
        return _Address(parts, host, port)

    @contextmanager
    def _asked(self, address: _Address, guard: _TimeLimit) -> Iterator[http.client.HTTPResponse]:
        """The answer of the host, connected to at an address that was checked."""
        connection = http.client.HTTPConnection(address.host, address.port)
        with closing(connection):
            connection.sock = self._connected(address, guard)
            headers = {
                "Host": address.url.netloc,
                "Accept": self._accept,
                "Accept-Encoding": "identity",
                "User-Agent": "facerec",
            }
            connection.request("GET", address.target, headers=headers)
            with closing(connection.getresponse()) as answer:
                yield answer

    def _connected(self, address: _Address, guard: _TimeLimit) -> socket.socket:
        """A connection to the first of the host's addresses that answers; all of them have to be allowed."""
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        if not self._allow_private and not all(is_public(str(entry[4][0])) for entry in found):
            raise InvalidImageUrl(f"{address.host} is in a private network, from which no image is read.")
        failure: OSError = OSError("no address")
        for family, kind, protocol, _, place in found:
            opened = socket.socket(family, kind, protocol)
            try:
                return self._opened(opened, place, address, guard)
            except OSError as error:
                opened.close()
                guard.check()
                failure = error
        raise failure

    def _opened(
        self, opened: socket.socket, place: tuple[Any, ...], address: _Address, guard: _TimeLimit
    ) -> socket.socket:
        """The socket, connected, and secured where the address asks for it."""
        guard.watch(opened)
        opened.settimeout(self._seconds)
        opened.connect(place)
        if address.url.scheme == "http":
            return opened
        secured = ssl.create_default_context().wrap_socket(opened, server_hostname=address.host)
        guard.watch(secured)
        return secured

    def _body(self, answer: http.client.HTTPResponse, write: Callable[[bytes], object]) -> None:
        """Write the body of a good answer, within the limit."""
        if answer.status != 200:
            away = answer.status >= 500 or answer.status == 429
            raise (UrlUnavailable if away else InvalidImageUrl)(
                f"The image's address answers with the status {answer.status}."
            )
        if answer.getheader("Content-Encoding", "identity").lower() != "identity":
            raise InvalidImageUrl("The image's address answers with packed bytes, which were not asked for.")
        declared = answer.length
        if declared is not None and declared > self._max_bytes:
            raise ImageTooLarge(self._too_large())
        size = 0
        while chunk := answer.read1(CHUNK_BYTES):
            size += len(chunk)
            if size > self._max_bytes:
                raise ImageTooLarge(self._too_large())
            write(chunk)
        if declared is not None and size != declared:
            raise InvalidImageUrl("The image broke off on its way.")

    def _too_large(self) -> str:
        return f"Image size is too large: behind an address at most {self._max_bytes} bytes are accepted."


class _TimeLimit:
    """Ends a connection when its time is up, whatever it waits for: a time-out of a socket alone begins anew
    with each byte.
    """

    def __init__(self, seconds: float) -> None:
        self.expired = False
        self._lock = threading.Lock()
        self._watched: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def watch(self, connection: socket.socket) -> None:
        """End this connection, no longer the one before. Raises TimeoutError when the time is up."""
        with self._lock:
            self._watched = connection
        self.check()

    def check(self) -> None:
        """Raise TimeoutError when the time is up."""
        if self.expired:
            raise TimeoutError

    def _expire(self) -> None:
        with self._lock:
            self.expired = True
            if self._watched is not None:
                try:
                    self._watched.shutdown(socket.SHUT_RDWR)
                except OSError:
                    return  # not connected yet, or closed


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, and so does any that it carries inside."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        if ip in _NAT64:
            inner.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
        if any(other is not None and not is_public(str(other)) for other in inner):
            return False
        if ip.ipv4_mapped is not None:
            return True
    return ip.is_global and not ip.is_multicast


def _split_port(entry: str) -> tuple[str, int | None]:
    """Host pattern and port of an entry of the setting."""
    host, separator, port = entry.rpartition(":")
    if separator and port.isdigit() and not host.endswith(":"):
        return host.strip("[]"), int(port)
    return entry.strip("[]"), None


def _matches(host: str, port: int, scheme: str, allowed: tuple[str, int | None]) -> bool:
    """Whether an entry of the setting allows the host at the port."""
    pattern, its_port = allowed
    if port != (DEFAULT_PORTS[scheme] if its_port is None else its_port):
        return False
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return host.endswith(pattern[1:])
    return host == pattern
