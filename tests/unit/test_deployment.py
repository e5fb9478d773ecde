"""The files of `deploy/`, read by the tools that they are for, and held against settings and commands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer.main
import yaml
from pydantic import AliasChoices

from facerec.cli.commands import app
from facerec.config import Settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
OVERLAYS = ("small", "production", "gpu")
WITHOUT_SCHEMA = {"ScaledObject", "TriggerAuthentication", "ServiceMonitor", "PodMonitor", "Kustomization"}
"""Kinds of other projects, which Kubernetes' own schemas do not know."""


def settings_names() -> set[str]:
    names: set[str] = set()
    for field in Settings.model_fields.values():
        alias = field.validation_alias
        names |= (
            {str(choice) for choice in alias.choices} if isinstance(alias, AliasChoices) else {str(alias)}
        )
    return names


SETTINGS = settings_names()


def exists(call: list[str]) -> bool:
    """Whether a call of facerec (its program's name left out) names commands and options that are there."""
    command: Any = typer.main.get_command(app)
    for word in call:
        if word.startswith("--"):
            if word not in {option for parameter in command.params for option in parameter.opts}:
                return False
        elif hasattr(command, "get_command"):
            command = command.get_command(None, word)
            if command is None:
                return False
    return not hasattr(command, "get_command")


# --- Docker


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text("utf-8"), flags=re.M).replace("\\\n", " ")
    return [(line.split()[0].upper(), line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def test_the_dockerfile_passes_the_linter() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    program = str(hadolint) if hadolint.exists() else shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([program, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_what_the_dockerfile_copies_exists_and_is_not_ignored() -> None:
    ignored = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert ignored[1] == "*"
    let_in = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = [
        source
        for name, rest in instructions()
        if name == "COPY" and "--from=" not in rest
        for source in rest.split()[:-1]
    ]
    assert copied
    for source in copied:
        place = source.removeprefix("./")
        assert (ROOT / place).exists(), source
        assert any(fnmatch(place, pattern) for pattern in let_in), f"{source} is ignored"


def test_the_extras_of_the_dockerfile_exist() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = {
        extra
        for chosen in re.findall(r"extras=([a-z,]+)", DOCKERFILE.read_text("utf-8"))
        for extra in chosen.split(",")
    }
    assert {"postgres", "gpu"} <= named
    asked_for = {
        extra
        for field in Settings.model_fields.values()
        for extra in re.findall(r"facerec\[(\w+)\]", field.description or "")
    }
    assert asked_for <= named, "a setting asks for a package that the image has not"
    assert named <= set(project["optional-dependencies"])


def test_each_target_of_the_dockerfile_runs_a_command_as_nobody_in_particular() -> None:
    stages = [rest.split()[-1] for name, rest in instructions() if name == "FROM"]
    assert {"api", "worker"} <= set(stages)
    assert ("USER", "10001:10001") in instructions()
    assert sum(name == "HEALTHCHECK" for name, _ in instructions()) == 2
    calls = [yaml.safe_load(rest) for name, rest in instructions() if name == "CMD"]
    assert [call[0] for call in calls] == ["facerec", "facerec"]
    assert all(exists(call[1:]) for call in calls)
    assert exists(["jobs", "counts"])  # the worker's health
    named = {
        name
        for instruction, rest in instructions()
        if instruction == "ENV"
        for name in re.findall(r"\b(FACEREC_[A-Z_]+|ENVIRONMENT)=", rest)
    }
    assert named
    assert named <= SETTINGS


# --- Compose


def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text("utf-8"))
    return read


def test_the_services_of_compose_fit_together() -> None:
    file = compose()
    services = file["services"]
    assert set(services) == {
        "api", "worker", "postgres", "redis", "qdrant", "minio", "prometheus", "grafana",
    }  # fmt: skip
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services), name
        assert set(service["networks"]) <= set(file["networks"]), name
        assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"]), name
        if "build" in service:
            context = (DEPLOY / "compose" / service["build"]["context"]).resolve()
            assert (context / service["build"]["dockerfile"]).exists(), name
            assert service["read_only"], name
            assert service["user"] == "10001:10001", name
        else:
            assert "healthcheck" in service, name
            assert re.search(r":[^:]*\d", service["image"]), f"{name} has no tag"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                made_by_hand = source == "./metrics.key"
                assert made_by_hand or (DEPLOY / "compose" / source).exists(), f"{name}: {source}"
            else:
                assert source in file["volumes"], f"{name}: {source}"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def test_the_environment_of_compose_is_made_of_settings() -> None:
    file = compose()
    for name in ("api", "worker"):
        assert set(file["services"][name]["environment"]) <= SETTINGS


def test_each_server_of_compose_has_its_own_secret_and_no_other() -> None:
    services = compose()["services"]
    needed = {
        name: set(re.findall(r"\$\{(\w+):\?", str(service.get("environment", ""))))
        for name, service in services.items()
    }
    assert needed.pop("api") == needed.pop("worker") == {"API_KEY", "POSTGRES_PASSWORD", "QDRANT_API_KEY"}
    assert {name: secrets for name, secrets in needed.items() if secrets} == {
        "postgres": {"POSTGRES_PASSWORD"},
        "qdrant": {"QDRANT_API_KEY"},
        "minio": {"MINIO_ROOT_PASSWORD"},
        "grafana": {"GF_SECURITY_ADMIN_PASSWORD"},
    }
    example = (DEPLOY / "compose" / "secrets.example").read_text("utf-8")
    listed = dict(re.findall(r"^([A-Z][A-Z0-9_]*)=(.*)$", example, re.M))
    assert set(listed) == {"API_KEY", "QDRANT_API_KEY"}.union(*needed.values())
    assert not any(listed.values())  # nothing starts until they are filled in
    for name, service in services.items():
        assert "no-new-privileges:true" in service["security_opt"], name
        assert name in ("api", "worker") or "env_file" not in service, name


def test_the_key_of_the_example_is_refused() -> None:
    secret = yaml.safe_load_all((DEPLOY / "kubernetes" / "base" / "secret.example.yaml").read_text("utf-8"))
    key = next(document["stringData"]["API_KEY"] for document in secret)
    with pytest.raises(ValueError, match="value of an example file"):
        Settings(_env_file=None, API_KEY=key)  # type: ignore[call-arg]


# --- Kubernetes


def documents(overlay: str) -> list[dict[str, Any]]:
    """What an overlay makes; skips where there is no kubectl or kustomize."""
    folder = DEPLOY / "kubernetes" / "overlays" / overlay
    if shutil.which("kustomize"):
        command = ["kustomize", "build", str(folder)]
    elif shutil.which("kubectl"):
        command = ["kubectl", "kustomize", str(folder)]
    else:
        pytest.skip("neither kubectl nor kustomize is installed")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def files() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted((DEPLOY / "kubernetes").rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text("utf-8")):
            yield path, document


def validate(document: dict[str, Any]) -> None:
    if document["kind"] not in WITHOUT_SCHEMA:
        kubernetes_validate.validate(document, "1.34", strict=True)


def pods(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one["spec"]["template"]["spec"] for one in found if one["kind"] in ("Deployment", "Job")]


def test_each_file_of_kubernetes_keeps_the_schema() -> None:
    found = [document for _, document in files()]
    assert {"Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Job"} <= {
        document["kind"] for document in found
    }
    for document in found:
        validate(document)
    with pytest.raises(kubernetes_validate.ValidationError):
        validate({"apiVersion": "v1", "kind": "Service", "spec": {"portz": []}})


def test_each_resource_that_a_kustomization_names_is_there() -> None:
    for path, document in files():
        if document["kind"] == "Kustomization":
            for resource in document["resources"]:
                assert (path.parent / resource).exists(), f"{path}: {resource}"


def test_pods_have_the_settings_and_commands_of_the_service_and_nothing_to_spare() -> None:
    found = [document for _, document in files()]
    assert len(pods(found)) == 3
    for pod in pods(found):
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert {"requests", "limits"} <= set(container["resources"])
            assert container["args"][0] == "facerec"
            assert exists(container["args"][1:]), container["args"]
            assert {one["name"] for one in container.get("env", [])} <= SETTINGS
            assert {mount["name"] for mount in container["volumeMounts"]} == {
                volume["name"] for volume in pod["volumes"]
            }
    for document in found:
        if document["kind"] == "ConfigMap":
            assert set(document["data"]) <= SETTINGS
        if document["kind"] == "Secret" and document["metadata"]["name"] == "facerec":
            assert set(document["stringData"]) <= SETTINGS


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_builds_and_keeps_the_schema(overlay: str) -> None:
    made = documents(overlay)
    for document in made:
        validate(document)
    images = {
        document["metadata"]["name"]: document["spec"]["template"]["spec"]["containers"][0]["image"]
        for document in made
        if document["kind"] in ("Deployment", "Job")
    }
    assert images["facerec-api"] == "registry.example/facerec:api-0.1.0"
    assert images["facerec-worker"].startswith("registry.example/facerec:worker-")
    assert ("gpu" in images["facerec-worker"]) == (overlay == "gpu")
    selected = next(one for one in made if one["kind"] == "NetworkPolicy")["spec"]["podSelector"][
        "matchLabels"
    ]
    for document in made:
        if document["kind"] in ("Deployment", "Job"):
            assert selected.items() <= document["spec"]["template"]["metadata"]["labels"].items()
    deployments = [document for document in made if document["kind"] == "Deployment"]
    scaled = any(document["kind"] == "HorizontalPodAutoscaler" for document in made)
    assert all(("replicas" in document["spec"]) != scaled for document in deployments)


# --- systemd


@pytest.mark.parametrize("unit", ["facerec-api", "facerec-worker"])
def test_a_unit_of_systemd_is_understood_and_hardened(unit: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text = (DEPLOY / "systemd" / f"{unit}.service").read_text("utf-8")
    program, command = re.findall(r"^ExecStart=(\S+) (.*)$", text, re.M)[0]
    assert exists(command.split())
    assert set(re.findall(r"\b(FACEREC_[A-Z_]+)=", text)) <= SETTINGS
    copy = tmp_path / f"{unit}.service"
    copy.write_text(text.replace(program, "/bin/true"))  # verify wants the program to be there
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, unit in done.stderr) == (0, False), done.stderr
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout[-300:]  # exposure of 2.5 at most, of 10
