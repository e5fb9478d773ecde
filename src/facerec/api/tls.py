"""HTTPS: the certificate that the service shows, read anew when its files change."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from facerec.errors import ConfigurationError

HANDSHAKE_SECONDS = 15.0
"""How long a client may take to agree on the encryption."""

_log = logging.getLogger(__name__)


class Certificate:
    """The certificate of a service, with its key. Safe to call from many threads."""

    def __init__(self, cert: Path, key: Path) -> None:
        """cert: PEM of the certificate and those between it and its authority. key: PEM, without a password.

        Raises ConfigurationError where they can not be read or do not belong together.
        """
        self._cert = cert
        self._key = key
        self._seen = self._stamp()
        self.context = self._load()
        """Of each connection: TLS 1.2 or newer."""

    def renew(self) -> None:
        """Show the files' certificate from now on, where they have changed; connections stay as they are.

        Where it can not be read, the one before is shown on, and the log says why.
        """
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._load()  # one that does not fit must not harm the context at work
            self.context.load_cert_chain(self._cert, self._key)
        except (ConfigurationError, OSError) as error:
            _log.error("The certificate was renewed and can not be taken; the older one is kept: %s", error)
        else:
            _log.info("The certificate was renewed.")

    def _load(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        try:
            # An empty password: without one OpenSSL would ask for it on the terminal.
            context.load_cert_chain(self._cert, self._key, password="")
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"FACEREC_TLS_CERT {self._cert} and FACEREC_TLS_KEY {self._key} can not be used: {error}. "
                "They have to be PEM files of a certificate and of its key, which has no password."
            ) from error
        return context

    def _stamp(self) -> tuple[tuple[int, int] | None, ...]:
        """What tells the files from later ones: links are followed, as Kubernetes renews secrets by them."""
        stamps: list[tuple[int, int] | None] = []
        for path in (self._cert, self._key):
            try:
                status = path.stat()
                stamps.append((status.st_ino, status.st_mtime_ns))
            except OSError:
                stamps.append(None)
        return tuple(stamps)
