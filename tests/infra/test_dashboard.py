"""The dashboard and the rules, as far as they can be judged without a Prometheus."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.grafana.dashboard import render
from serving.instruments import ALL, Histogram
from serving.metrics import MODEL_INFO

INFRA = Path(__file__).resolve().parents[2] / "infra"
METRIC = re.compile(r"\b(?:mlops|process)_\w+")
RECORD = re.compile(r"\bjob\w*:\w+:\w+")
UNSEEN = {"mlops_store_asked_timestamp_seconds"}
"""Of no use to a panel or an alert, but to who doubts the two beside it."""


@pytest.fixture(scope="module")
def panels() -> list[dict[str, Any]]:
    dashboard: dict[str, Any] = json.loads((INFRA / "grafana" / "dashboard.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    files = [
        yaml.safe_load((INFRA / "prometheus" / name).read_text()) for name in ("recording.yml", "alerts.yml")
    ]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def names() -> set[str]:
    """Of all series that the service has."""
    parts = [
        [f"{each.name}{part}" for part in ("_bucket", "_sum", "_count")]
        if isinstance(each, Histogram)
        else [each.name]
        for each in ALL
    ]
    return {MODEL_INFO, *(name for part in parts for name in part)}


def test_the_dashboard_is_current() -> None:
    """If not: .venv/bin/python -m infra.grafana.dashboard"""
    assert (INFRA / "grafana" / "dashboard.json").read_text() == render()


def test_dashboard_and_rules_ask_for_what_the_service_counts_and_leave_nothing_out(
    panels: list[dict[str, Any]],
) -> None:
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    asked += [rule["expr"] for rule in rules()]
    used = {name for expression in asked for name in METRIC.findall(RECORD.sub("", expression))}
    assert used <= names()
    seen = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used}
    assert {each.name for each in ALL} - seen == UNSEEN
    recorded = {name for expression in asked for name in RECORD.findall(expression)}
    assert recorded == {rule["record"] for rule in rules() if "record" in rule}


def test_every_panel_says_in_which_unit_and_asks_the_source_that_was_chosen(
    panels: list[dict[str, Any]],
) -> None:
    for panel in panels:
        title, options = panel["title"], panel.get("options", {})
        unit = panel["fieldConfig"]["defaults"].get("unit") or options.get("yAxis", {}).get("unit")
        assert unit or panel["type"] == "table", title
        for source in (panel, *panel["targets"]):
            assert source["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, title
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]), title


def test_panels_have_numbers_and_places_of_their_own() -> None:
    panels = json.loads((INFRA / "grafana" / "dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert max(place["x"] + place["w"] for place in places) <= 24
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


def test_the_bounds_that_alerts_and_panels_name_are_bounds_of_the_histogram(
    panels: list[dict[str, Any]],
) -> None:
    (slow,) = (rule["expr"] for rule in rules() if rule.get("alert") == "ScoringSlow")
    (budget,) = (float(text) for text in re.findall(r'"/v1/score"} > ([\d.]+)', slow))
    (histogram,) = (each for each in ALL if each.name == "mlops_request_seconds")
    assert isinstance(histogram, Histogram)
    assert budget in histogram.bounds
    lines = {
        step["value"]
        for panel in panels
        if "mlops_request_seconds_bucket{" in panel["targets"][0]["expr"]
        for step in panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
    }
    assert lines == {None, budget}
