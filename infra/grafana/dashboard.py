"""Writes dashboard.json, a line a panel: `python -m infra.grafana.dashboard`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infra.grafana.panels import SOURCE, grown, heat, lines, mean, number, panel, quantile, rate, variable

__all__ = ["render"]

HERE = Path(__file__).parent
SCORED = '@, route="/v1/score"'
ASKED = '@, route=~"/v1/.+"'
BUDGET_S = 0.01
"""As in the alert ScoringSlow."""


def models() -> dict[str, Any]:
    """The table of who answers with what."""
    hidden = dict.fromkeys(("Time", "Value", "__name__", "job"), True)
    order = {name: i for i, name in enumerate(("instance", "worker", "name", "version", "digest"))}
    organize = {"excludeByName": hidden, "indexByName": order, "renameByName": {}}
    about = "By worker. After a promotion all should soon be the same."
    made = panel("table", "Models that answer", about, {"": "mlops_model_info{@}"})
    made["targets"][0] |= {"range": False, "instant": True, "format": "table"}
    return made | {
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": {"showHeader": True, "cellHeight": "sm"},
        "transformations": [{"id": "organize", "options": organize}],
    }


WORKER = "{{instance}} {{worker}}"
SERVER = "{{instance}}"
FINE: tuple[str, None] = ("green", None)
BAD: tuple[str, None] = ("red", None)
YES_NO = {
    "type": "value",
    "options": {
        "0": {"text": "no", "color": "red", "index": 0},
        "1": {"text": "yes", "color": "green", "index": 1},
    },
}

ROWS: dict[str, list[dict[str, Any]]] = {
    "At a glance": [
        number(
            "Requests",
            "reqps",
            rate(f"mlops_requests_total{{{ASKED}}}"),
            "To /v1; probes are left out.",
            FINE,
        ),
        number(
            "Failed",
            "percentunit",
            rate(f'mlops_requests_total{{{ASKED}, status=~"5.."}}')
            + " / "
            + rate(f"mlops_requests_total{{{ASKED}}}"),
            "Share of them that were answered with 5xx.",
            *(FINE, ("red", 0.001)),
        ),
        number(
            "p99 of /v1/score",
            "s",
            quantile(0.99, "mlops_request_seconds", SCORED),
            "99 % of scores took no longer, from a request's first byte to its answer.",
            *(FINE, ("red", BUDGET_S)),
        ),
        number("Servers that answer", "short", "sum(up{@})", "To Prometheus.", BAD, ("green", 1)),
        number(
            "Bundles refused",
            "short",
            "sum(max by (instance) (mlops_model_refused{@}))",
            "Servers that refuse the bundle that is deployed; the one before goes on.",
            *(FINE, ("red", 1)),
        ),
        number(
            "Store reached",
            "short",
            "min(mlops_store_up{@})",
            "No, if a worker cannot reach the online store: then nothing is scored.",
            *(BAD, ("green", 1)),
            words=[YES_NO],
        ),
    ],
    "Traffic and errors": [
        lines(
            "Requests by status",
            "reqps",
            {"{{status}}": rate(f"mlops_requests_total{{{ASKED}}}", "status")},
            "To /v1 only.",
            stacked=True,
        ),
        lines(
            "Requests by route",
            "reqps",
            {"{{route}}": rate("mlops_requests_total{@}", "route")},
            stacked=True,
        ),
        lines(
            "Turned away, by reason",
            "reqps",
            {"{{reason}}": rate("mlops_rejected_total{@}", "reason")},
            "queue: want of room; rate, auth: keys; body, timeout: requests that are too large or too slow; "
            "store: the store or a log that fails.",
            stacked=True,
        ),
    ],
    "Latency": [
        lines(
            "Quantiles of /v1/score",
            "s",
            {
                name: quantile(q, "mlops_request_seconds", SCORED)
                for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))
            },
            "The line is the budget of the alert ScoringSlow.",
            bound=BUDGET_S,
        ),
        lines("p99 by route", "s", {"{{route}}": quantile(0.99, "mlops_request_seconds", ASKED, "route, ")}),
        heat(
            "Seconds of /v1/score",
            "s",
            rate(f"mlops_request_seconds_bucket{{{SCORED}}}", "le"),
            "Requests a second in a bucket.",
        ),
        lines(
            "Mean seconds an event, by stage",
            "s",
            {"{{stage}}": mean("mlops_stage_seconds", '@, stage!="total"', "stage")},
            "Where the time goes; a batch's seconds are divided by its events.",
            stacked=True,
        ),
        lines("p99 of a stage", "s", {"{{stage}}": quantile(0.99, "mlops_stage_seconds", "@", "stage, ")}),
        lines(
            "Events scored together",
            "short",
            {"events": mean("mlops_batch_events", "@")},
            "Mean; it grows with the load, and an event gets cheaper.",
        ),
    ],
    "Model and scores": [
        models(),
        lines(
            "Bundles loaded and refused",
            "short",
            {"{{outcome}}": grown("mlops_model_loads_total{@}", "outcome")},
        ),
        lines(
            "Decisions",
            "ops",
            {"{{decision}}": rate("mlops_events_scored_total{@}", "decision")},
            "Events scored for the first time.",
            stacked=True,
        ),
        heat(
            "Scores",
            "none",
            rate("mlops_score_bucket{@}", "le"),
            "Of a classification; a second, in a bucket.",
        ),
        lines(
            "Shift of the scores",
            "percentunit",
            {"distance": 'job:mlops_score:ks1w{job="$job"}'},
            "Kolmogorov-Smirnov distance of the last hour's scores from those of the same hour a week before, of all "
            "servers. The line is the bound of the alert ScoresShifted.",
            bound=0.1,
        ),
        lines(
            "Mean score, and labels",
            "short",
            {
                "mean score": mean("mlops_score", "@"),
                "labels {{outcome}}": rate("mlops_labels_total{@}", "outcome"),
            },
            "Labels are applied, or held until their event comes.",
            right=("labels .*", "ops"),
        ),
    ],
    "Queue, store and logs": [
        lines(
            "Events that wait",
            "short",
            {WORKER: "mlops_queue_events{@}", "limit": "max(mlops_queue_limit{@})"},
            "Seen twice a second. What comes beyond the limit is answered with 503.",
        ),
        lines("Events in the store", "short", {SERVER: "mlops_store_events{@}"}),
        lines("Size of the store", "bytes", {SERVER: "mlops_store_bytes{@}"}),
        lines("Written to the logs", "Bps", {SERVER: rate("mlops_log_bytes_total{@}", "instance")}),
        lines(
            "Writes that failed",
            "short",
            {SERVER: grown("mlops_log_failures_total{@}", "instance")},
            "Nothing was acknowledged then.",
        ),
        lines("Free space for the logs", "bytes", {SERVER: "mlops_log_free_bytes{@}"}),
    ],
    "Processes": [
        lines(
            "Processor",
            "short",
            {WORKER: "rate(process_cpu_seconds_total{@}[$__rate_interval])"},
            "Cores used.",
        ),
        lines(
            "Resident memory",
            "bytes",
            {WORKER: "process_resident_memory_bytes{@}"},
            "What workers share is counted with each.",
        ),
        lines("Connections", "short", {WORKER: "mlops_connections{@}"}),
        lines(
            "File descriptors",
            "percentunit",
            {WORKER: "process_open_fds{@} / process_max_fds{@}"},
            "Share of those that may be open.",
        ),
        lines(
            "Workers started again", "short", {SERVER: grown("mlops_worker_restarts_total{@}", "instance")}
        ),
        lines(
            "Age and draining",
            "s",
            {WORKER: "time() - process_start_time_seconds{@}", f"draining {WORKER}": "mlops_draining{@}"},
            "Draining is 1 while a worker finishes what it has.",
            right=("draining .*", "short"),
        ),
    ],
}

VARIABLES = [
    {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "regex": ""}
    | {
        "refresh": 1,
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "current": {},
        "skipUrlSync": False,
    },
    variable("job", "Job", "label_values(mlops_requests_total, job)"),
    variable(
        "instance",
        "Server",
        'label_values(mlops_requests_total{job="$job"}, instance)',
        includeAll=True,
        allValue=".*",
        multi=True,
        current={"selected": True, "text": ["All"], "value": ["$__all"]},
    ),
]
ALERTS = {
    "name": "Alerts",
    "datasource": SOURCE,
    "enable": True,
    "hide": False,
    "iconColor": "red",
    "expr": 'ALERTS{alertstate="firing", job="$job"}',
    "titleFormat": "{{alertname}}",
    "textFormat": "{{instance}}",
    "step": "60s",
}
HEAD = {
    "id": None,
    "uid": "mlops-serving",
    "title": "Scoring service",
    "description": "Traffic, errors, latency, model, scores, store, queue and logs of the scoring service.",
    "tags": ["mlops"],
    "schemaVersion": 39,
    "version": 1,
    "editable": True,
    "graphTooltip": 1,
    "timezone": "browser",
    "refresh": "30s",
    "time": {"from": "now-1h", "to": "now"},
    "timepicker": {},
    "links": [],
    "annotations": {"list": [ALERTS]},
    "templating": {"list": VARIABLES},
}


def placed() -> list[dict[str, Any]]:
    """Rows and panels, each with a number and a place on the grid, from left to right."""
    done: list[dict[str, Any]] = []
    y = 0
    for title, members in ROWS.items():
        at = {"h": 1, "w": 24, "x": 0, "y": y}
        done.append(
            {
                "id": len(done) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "gridPos": at,
                "panels": [],
            }
        )
        x, y = 0, y + 1
        for member in members:
            width, height = member["_size"]
            if x + width > 24:
                x, y = 0, y + height
            at = {"h": height, "w": width, "x": x, "y": y}
            rest = {name: value for name, value in member.items() if name != "_size"}
            done.append({"id": len(done) + 1, "gridPos": at, **rest})
            x += width
        y += height
    return done


def render() -> str:
    """The dashboard, as JSON."""
    head = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in HEAD.items())
    panels = ",\n".join(f"    {json.dumps(each)}" for each in placed())
    return f'{{\n{head},\n  "panels": [\n{panels}\n  ]\n}}\n'


if __name__ == "__main__":
    (HERE / "dashboard.json").write_text(render())
