"""Downloads through a real HTTP server: resumed, redirected, cut off, wrong."""

from __future__ import annotations

import datetime
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from archive_server import ArchiveServer, serving
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from facerec.engine.packs.download import ATTEMPTS, Downloader
from facerec.engine.packs.registry import PinnedFile
from facerec.errors import DownloadFailed, PackError

BODY = random.Random(7).randbytes(1_000_000)
FILE = PinnedFile("weights.onnx", hashlib.sha256(BODY).hexdigest(), len(BODY))


@pytest.fixture
def server() -> Iterator[ArchiveServer]:
    with serving() as state:
        state.files["/weights.onnx"] = BODY
        yield state


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "weights.onnx"


def fetch(address: str, target: Path, file: PinnedFile = FILE) -> list[tuple[int, int]]:
    """Fetch, and give back the progress that was told."""
    told: list[tuple[int, int]] = []
    downloader = Downloader(first_pause=0.001, timeout=urllib3.Timeout(connect=2, read=2))
    downloader.fetch(address, file, target, lambda done, total: told.append((done, total)))
    return told


def test_whole_file_with_progress(server: ArchiveServer, target: Path) -> None:
    told = fetch(f"{server.address}/weights.onnx", target)
    assert target.read_bytes() == BODY
    assert told[0] == (0, len(BODY))
    assert told[-1] == (len(BODY), len(BODY))
    assert [path.name for path in target.parent.iterdir()] == ["weights.onnx"]


def test_resumes_after_cut_connections(server: ArchiveServer, target: Path) -> None:
    server.drop_after = [300_000, 400_000]
    fetch(f"{server.address}/weights.onnx", target)
    assert target.read_bytes() == BODY
    asked = [wanted for _, wanted in server.requests]
    assert asked[0] is None
    assert asked[1:] == ["bytes=300000-", "bytes=700000-"]


def test_resumes_what_an_earlier_run_left(server: ArchiveServer, target: Path) -> None:
    target.with_name("weights.onnx.part").write_bytes(BODY[:600_000])
    fetch(f"{server.address}/weights.onnx", target)
    assert target.read_bytes() == BODY
    assert server.requests == [("/weights.onnx", "bytes=600000-")]


def test_a_finished_part_is_checked_without_a_request(server: ArchiveServer, target: Path) -> None:
    target.with_name("weights.onnx.part").write_bytes(BODY)
    fetch(f"{server.address}/weights.onnx", target)
    assert target.read_bytes() == BODY
    assert server.requests == []


def test_a_server_without_ranges_sends_all_again(server: ArchiveServer, target: Path) -> None:
    server.honours_range = False
    server.drop_after = [300_000]
    fetch(f"{server.address}/weights.onnx", target)
    assert target.read_bytes() == BODY


def test_another_file_at_the_address_starts_anew(server: ArchiveServer, target: Path) -> None:
    target.with_name("weights.onnx.part").write_bytes(b"x" * 500_000)
    target.with_name("weights.onnx.part.etag").write_text('"old"')
    fetch(f"{server.address}/weights.onnx", target)
    assert target.read_bytes() == BODY


def test_range_beyond_the_end_starts_anew(server: ArchiveServer, target: Path) -> None:
    server.files["/weights.onnx"] = BODY[:100]
    target.with_name("weights.onnx.part").write_bytes(BODY[:500])
    with pytest.raises(DownloadFailed, match="attempts"):
        fetch(f"{server.address}/weights.onnx", target)
    assert server.requests[0] == ("/weights.onnx", "bytes=500-")
    assert not target.exists()


def test_wrong_content_leaves_nothing(server: ArchiveServer, target: Path) -> None:
    server.files["/weights.onnx"] = bytes(len(BODY))
    with pytest.raises(PackError, match=f"it must be {FILE.sha256}"):
        fetch(f"{server.address}/weights.onnx", target)
    assert list(target.parent.iterdir()) == []


def test_a_body_that_is_too_long_is_cut_off(server: ArchiveServer, target: Path) -> None:
    server.files["/weights.onnx"] = BODY + bytes(5_000_000)
    with pytest.raises(PackError, match="longer than the 1000000 bytes"):
        fetch(f"{server.address}/weights.onnx", target)
    assert not target.with_name("weights.onnx.part").exists()


def test_busy_server_is_asked_again(server: ArchiveServer, target: Path) -> None:
    server.status = [503, 429, 500]
    fetch(f"{server.address}/weights.onnx", target)
    assert target.read_bytes() == BODY
    assert len(server.requests) == 4


def test_missing_file_is_not_asked_for_again(server: ArchiveServer, target: Path) -> None:
    with pytest.raises(DownloadFailed, match="answered 404"):
        fetch(f"{server.address}/absent.onnx", target)
    assert len(server.requests) == 1


def test_gives_up_when_nothing_answers(server: ArchiveServer, target: Path) -> None:
    server.status = [503] * 10
    with pytest.raises(DownloadFailed, match=f"answered 503 .{ATTEMPTS} attempts"):
        fetch(f"{server.address}/weights.onnx", target)
    assert len(server.requests) == ATTEMPTS


def test_refused_connection_says_so(target: Path) -> None:
    with serving() as gone:
        address = gone.address
    with pytest.raises(DownloadFailed, match="connection was refused"):
        fetch(f"{address}/weights.onnx", target)


def test_redirects_are_followed(server: ArchiveServer, target: Path) -> None:
    server.redirects["/latest"] = "/moved"
    server.redirects["/moved"] = f"{server.address}/weights.onnx"
    fetch(f"{server.address}/latest", target)
    assert target.read_bytes() == BODY


def test_redirects_in_a_circle_end(server: ArchiveServer, target: Path) -> None:
    server.redirects["/latest"] = "/latest"
    with pytest.raises(DownloadFailed, match="more than 5 redirects"):
        fetch(f"{server.address}/latest", target)


@pytest.mark.parametrize("elsewhere", ["file:///etc/passwd", "ftp://127.0.0.1/weights.onnx"])
def test_only_http_addresses(server: ArchiveServer, target: Path, elsewhere: str) -> None:
    server.redirects["/latest"] = elsewhere
    with pytest.raises(DownloadFailed, match="no http or https address"):
        fetch(f"{server.address}/latest", target)
    with pytest.raises(DownloadFailed, match="no http or https address"):
        fetch(elsewhere, target)


def test_https_never_leads_to_http(
    server: ArchiveServer,
    target: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    certificate = self_signed(tmp_path_factory.mktemp("tls"))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(certificate) as encrypted:
        encrypted.files["/weights.onnx"] = BODY
        encrypted.redirects["/latest"] = f"{server.address}/weights.onnx"
        with pytest.raises(DownloadFailed, match="redirects from https to http"):
            fetch(f"{encrypted.address}/latest", target)
        assert server.requests == []
        server.redirects["/latest"] = f"{encrypted.address}/weights.onnx"
        fetch(f"{server.address}/latest", target)
    assert target.read_bytes() == BODY


def self_signed(folder: Path) -> Path:
    """A key and a certificate for localhost, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "localhost.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
