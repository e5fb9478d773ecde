"""The certificate of HTTPS: which files are taken, and that a renewed one is shown."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import ssl
from pathlib import Path

import pytest

from certificates import Authority
from facerec.api.tls import Certificate
from facerec.config import read_settings
from facerec.errors import ConfigurationError


def shown(certificate: Certificate, authority: Authority) -> str:
    """The digest of the certificate that a client is shown, who trusts the authority alone."""
    client_in, client_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_in, server_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    trusting = ssl.create_default_context(cafile=str(authority.file))
    client = trusting.wrap_bio(client_in, client_out, server_hostname="127.0.0.1")
    server = certificate.context.wrap_bio(server_in, server_out, server_side=True)
    for _ in range(4):
        for side, sent, other in ((client, client_out, server_in), (server, server_out, client_in)):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
            other.write(sent.read())
    found = client.getpeercert(binary_form=True)
    assert found is not None
    return hashlib.sha256(found).hexdigest()


def digest(file: Path) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(file.read_text())).hexdigest()


def test_a_renewed_certificate_is_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue()
    first = digest(cert)
    certificate = Certificate(cert, key)
    assert shown(certificate, authority) == first
    certificate.renew()
    assert shown(certificate, authority) == first
    authority.issue()
    second = digest(cert)
    certificate.renew()
    assert shown(certificate, authority) == second != first
    cert.write_text("half a certif")
    with caplog.at_level(logging.ERROR):
        certificate.renew()
    assert "the older one is kept" in caplog.text
    assert shown(certificate, authority) == second
    authority.issue()
    certificate.renew()
    assert shown(certificate, authority) == digest(cert)


def test_files_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, _ = authority.issue("one")
    _, key = authority.issue("other")
    with pytest.raises(ConfigurationError, match="FACEREC_TLS_CERT"):
        Certificate(cert, key)
    with pytest.raises(ConfigurationError, match="FACEREC_TLS_CERT"):
        Certificate(tmp_path / "missing.pem", key)


def test_one_half_of_certificate_and_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="go together"):
        read_settings(tls_cert=tmp_path / "server.pem")
