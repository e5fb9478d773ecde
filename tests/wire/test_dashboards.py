"""Dashboards and alerts ask for nothing that the service does not tell, and every alert has its runbook."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from wire_server import inline, running

from facerec.engine.fake import draw
from facerec.jobs.base import NewJob
from facerec.observability.metrics import LABELS

REPOSITORY = Path(__file__).resolve().parents[2]
PROMETHEUS = REPOSITORY / "deploy" / "prometheus"
DASHBOARDS = sorted((REPOSITORY / "deploy" / "grafana" / "dashboards").glob("*.json"))
OF_PROMETHEUS = {"job", "instance"}
"""Labels that Prometheus itself adds."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Labels by the name of each sample that /metrics may have."""
    with running(tmp_path_factory.mktemp("told")) as server:
        server.client().detect_faces(Image=inline(draw("ann")))
        httpx.get(server.url + "/api/v1/nothing")
        server.service.jobs.put([NewJob(kind="waiting", payload={})])
        text = httpx.get(server.url + "/metrics").text
    found: dict[str, set[str]] = {"up": set()}
    for family in text_string_to_metric_families(text):
        names = {
            "counter": [f"{family.name}_total"],
            "histogram": [f"{family.name}_{part}" for part in ("bucket", "sum", "count")],
        }.get(family.type, [family.name])
        for name in names:
            found[name] = set(LABELS.get(family.name, ())) | ({"le"} if name.endswith("_bucket") else set())
        for sample in family.samples:
            found[sample.name] |= set(sample.labels)
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """Where each expression stands, and what it is."""
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                text = target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")
                yield f"{path.stem}: {panel['title']}", text
    for alert in alerts():
        yield f"alert {alert['alert']}", alert["expr"]


def alerts() -> list[dict[str, Any]]:
    content = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())
    return [rule for group in content["groups"] for rule in group["rules"]]


EXPRESSIONS = list(expressions())


def selectors(part: Any) -> Iterator[Any]:
    """The selectors of a parsed expression."""
    if isinstance(part, promql_parser.VectorSelector):
        yield part
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        inner = getattr(part, name, None)
        if inner is not None:
            yield from selectors(inner)
    for argument in getattr(part, "args", None) or ():
        yield from selectors(argument)


@pytest.mark.parametrize(("where", "text"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_an_expression_asks_for_what_is_told(told: dict[str, set[str]], where: str, text: str) -> None:
    found = list(selectors(promql_parser.parse(text)))
    assert found, text
    known: set[str] = set()
    for selector in found:
        assert selector.name in told, f"{where} asks for {selector.name}"
        labels = told[selector.name] | OF_PROMETHEUS
        used = {matcher.name for matcher in selector.matchers.matchers}
        assert used <= labels, f"{where} asks for {used - labels} of {selector.name}"
        known |= labels
    for group in re.findall(r"\bby \(([^)]*)\)", text):
        assert {name.strip() for name in group.split(",")} <= known, where


def test_the_check_sees_a_metric_that_is_not_there(told: dict[str, set[str]]) -> None:
    (selector,) = selectors(promql_parser.parse('sum by (x) (rate(facerec_made_up_total{y="z"}[5m]))'))
    assert selector.name == "facerec_made_up_total"
    assert selector.name not in told


def test_every_metric_is_shown_or_watched(told: dict[str, set[str]]) -> None:
    asked = {
        re.sub(r"_(bucket|sum|count)$", "", selector.name)
        for _, text in EXPRESSIONS
        for selector in selectors(promql_parser.parse(text))
    }
    own = {re.sub(r"_(bucket|sum|count)$", "", name) for name in told if name.startswith("facerec_")}
    assert own - asked == set()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path: Path) -> None:
    board = json.loads(path.read_text())
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert len(panel["description"]) > 10, panel["title"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_has_its_place_in_the_runbook(alert: dict[str, Any]) -> None:
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    text = (REPOSITORY / page).read_text()
    sections = {line[3:].strip().lower(): line for line in text.splitlines() if line.startswith("## ")}
    assert anchor in sections
    section = text.partition(sections[anchor])[2].partition("\n## ")[0]
    for what in ("**Means.**", "**Look.**", "**Do.**"):
        assert what in section, f"{alert['alert']} lacks {what}"
    assert alert["labels"]["severity"] in ("critical", "warning", "info")


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    content = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())
    fired = {
        case["alertname"]
        for test in content["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert fired == {alert["alert"] for alert in alerts()}


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
        ("check", "config", "--syntax-only", "prometheus.yml"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_prometheus_own_tool_agrees(arguments: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (of the Debian package prometheus) is not installed")
    done = subprocess.run(
        [promtool, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_told_is_as_prometheus_own_tool_wants_it(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (of the Debian package prometheus) is not installed")
    with running(tmp_path) as server:
        text = httpx.get(server.url + "/metrics").text
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("facerec_")]
    assert not complaints, complaints
