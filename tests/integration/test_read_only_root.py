"""The service as its container runs it: a read-only root, user 10001, no capability; data and /tmp apart."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import serving

from facerec.engine.fake import draw

pytestmark = pytest.mark.slow

SANDBOX = """#!/bin/sh
exec {bwrap} --unshare-user --uid 10001 --gid 10001 --cap-drop ALL --die-with-parent \\
    --ro-bind / / --dev /dev --proc /proc --tmpfs /tmp --bind "$FACEREC_DATA_DIR" "$FACEREC_DATA_DIR" \\
    --setenv HOME /tmp --setenv PYTHONDONTWRITEBYTECODE 1 --chdir "$FACEREC_DATA_DIR" {facerec} "$@"
"""


def test_it_serves_from_a_read_only_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        pytest.skip("bubblewrap, which makes the sandbox, is not installed")
    sandboxed = tmp_path / "facerec"
    sandboxed.write_text(SANDBOX.format(bwrap=bwrap, facerec=serving.FACEREC))
    sandboxed.chmod(0o755)
    (tmp_path / "data").mkdir(mode=0o700)
    plain = serving.FACEREC
    monkeypatch.setattr(serving, "FACEREC", sandboxed)
    with serving.serving(tmp_path / "data") as server:
        client = server.client()
        client.create_collection(CollectionId="guests")
        client.index_faces(CollectionId="guests", ExternalImageId="ann", Image={"Bytes": draw("ann")})
        found = client.search_faces_by_image(CollectionId="guests", Image={"Bytes": draw("ann", variation=1)})
        client.close()
        assert [match["Face"].get("ExternalImageId") for match in found["FaceMatches"]] == ["ann"]
        server.stop()
        assert "Read-only" not in server.output
    # What it wrote is in the data folder, and outlives it.
    monkeypatch.setattr(serving, "FACEREC", plain)
    with serving.serving(tmp_path / "data") as server:
        client = server.client()
        assert client.describe_collection(CollectionId="guests")["FaceCount"] == 1
        client.close()
