"""A real Prometheus reads a real service with a key, and answers what the dashboards ask it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from serving import FACEREC, Server, serving, wait_until

from facerec.engine.fake import draw

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


@contextmanager
def prometheus(folder: Path, target: str, key: str) -> Iterator[httpx.Client]:
    """Prometheus over the configuration of `deploy`, but for the target and how often it looks."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus (a Debian package) is not installed")
    content = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    content["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    scrape = content["scrape_configs"][0]
    (folder / "facerec.key").write_text(key)
    scrape["authorization"] = {"credentials_file": str(folder / "facerec.key")}
    scrape["static_configs"] = [{"targets": [target]}]
    content["scrape_configs"] = [scrape]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(content))
    shutil.copy(DEPLOY / "prometheus" / "alerts.yml", folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        with httpx.Client(base_url=f"http://{address}/api/v1", timeout=30) as client:
            yield client
    finally:
        process.kill()
        process.wait()


def ask(client: httpx.Client, query: str) -> list[dict[str, Any]]:
    """The samples of a query; none while Prometheus does not answer yet."""
    try:
        answer = client.get("/query", params={"query": query})
    except httpx.ConnectError:
        return []
    if answer.status_code == 503:
        return []
    told = answer.json()
    assert told["status"] == "success", (query, told)
    result: list[dict[str, Any]] = told["data"]["result"]
    return result


def key_of(server: Server) -> str:
    done = subprocess.run(
        [str(FACEREC), "keys", "create", "--api", "--scope", "read"],
        env={"FACEREC_DATA_DIR": str(server.data), "PATH": "/usr/bin:/bin"},
        cwd=server.data.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return next(word for word in done.stdout.split() if word.startswith("frk_") and "." in word)


def test_prometheus_reads_the_service_and_answers_the_dashboards(tmp_path: Path) -> None:
    settings = {"FACEREC_METRICS_ACCESS": "key"}
    folder = tmp_path / "prometheus"
    folder.mkdir()
    with serving(tmp_path / "data", settings=settings) as server:
        client = server.client()
        client.create_collection(CollectionId="people")
        client.index_faces(CollectionId="people", Image={"Bytes": draw("ann", "ben")})
        client.close()
        assert httpx.get(server.url + "/metrics").status_code == 401
        with prometheus(folder, f"127.0.0.1:{server.port}", key_of(server)) as asked:
            wait_until(lambda: [each["value"][1] for each in ask(asked, "max(facerec_faces)")] == ["2"])
            assert [each["value"][1] for each in ask(asked, 'up{job="facerec"}')] == ["1"]
            for path in (DEPLOY / "grafana" / "dashboards").glob("*.json"):
                for panel in json.loads(path.read_text())["panels"]:
                    for target in panel["targets"]:
                        query = target["expr"].replace("$__rate_interval", "1m")
                        ask(asked, query.replace("$instance", ".*"))
            assert len(_rules(asked)) > 10
            wait_until(lambda: all(rule["health"] == "ok" for rule in _rules(asked)))
            assert not [each for each in ask(asked, "ALERTS") if each["metric"]["alertstate"] == "firing"]


def _rules(client: httpx.Client) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = client.get("/rules").json()["data"]["groups"][0]["rules"]
    return rules
