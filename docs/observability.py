"""Writes observability.md, its tables from the service's instruments and rules: `python docs/observability.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from serving.instruments import ALL, Gauge
from serving.metrics import MODEL_INFO, MODEL_INFO_HELP

__all__ = ["render"]

HERE = Path(__file__).parent
ALERTS = HERE.parent / "infra" / "prometheus" / "alerts.yml"
PIPELINES = HERE.parent / "k8s" / "components" / "pipelines-alerts" / "prometheus-rule.yaml"
LISTED = 8
"""Values of a label that the table names one by one."""

HEAD = """# What is seen of the service

`/metrics` is for Prometheus and asks for no key: let only the monitoring reach it. Whichever worker answers says it
for all: each counts in memory that they share, so counters are whole, never go back while the server runs, and
outlive a worker that is killed. Labels have fixed values; no request can make a series.

## Look at it here, in three commands

    .venv/bin/mlops --home runs/demo serve --no-keys
    cd infra/prometheus && prometheus --config.file=prometheus.yml --storage.tsdb.path=/tmp/prometheus \\
        --web.listen-address=127.0.0.1:9099
    .venv/bin/mlops replay --events runs/demo/world --from 2018-07-10 --to 2018-07-16

They run side by side, in the order given, on what `make demo` made; http://127.0.0.1:9099 shows series and alerts.
`infra/system-packages` installs Prometheus.

## Metrics

Written from [`serving/instruments.py`](../serving/instruments.py) and [the rules](../infra/prometheus/alerts.yml) by
`.venv/bin/python docs/observability.py`.
"""

BETWEEN = """\
Those with the label `worker` are each worker's own; the others are everybody's together. Resident memory counts what
workers share once each. Where the system has no `/proc` it is 0, and so are the open descriptors. The store is asked
every five seconds, in a thread; the other gauges are half a second old at most.

## Alerts

`page` gets somebody up, `ticket` waits for the working day. Each alert says in its annotation `runbook` what to do.
Two bounds are yours to set: 10 ms in `ScoringSlow`, which should be what the authorisation path grants, and the
99.9 % behind the error budget.
"""

PIPELINE_ALERTS = """\
On [Kubernetes](kubernetes.md) there are those of
[the pipelines](../k8s/components/pipelines-alerts/prometheus-rule.yaml) as well, by what kube-state-metrics tells:
"""

FOOT = """\
`ScoresShifted` compares the last hour's scores with those of the same hour a week before, by the Kolmogorov-Smirnov
distance at the buckets' bounds. It sees within the hour that something moved, whatever it is; which feature it was,
and whether performance moved with it once labels are due, is said by `mlops monitor`.

`infra/prometheus/rules_test.yml` and `week_test.yml` let each of these things happen, and an ordinary week in which
none may fire. `tests/system/test_prometheus.py` has a real Prometheus watch a real server of two workers.

## Dashboard

`infra/grafana/dashboard.json`, written by `.venv/bin/python -m infra.grafana.dashboard`, is imported in Grafana
(Dashboards, New, Import), or provisioned: `infra/grafana/provisioning` goes to `/etc/grafana/provisioning`, the
dashboard to `/var/lib/grafana/dashboards`. It asks for a data source, a job and servers. `ScoresShifted`'s panel
needs the recording rules; the others need none.

Grafana is not among Debian's packages, so the project's tests do not draw the dashboard: they ask a real Prometheus
each of its queries while requests run, and each must find series. Its fields were read once by Grafana's own Python
types (`grafana-foundation-sdk`).

## Logs

The service's log goes to stderr: with `--log-format json` a line of JSON for each message, with `time`, `level`,
`logger`, `message`, `pid`, `worker`, and `error` with a traceback. A message about a request has its `request_id`,
which is also in the answer's `X-Request-Id`: the client's own, if it sent one, so that a failure is found from either
side. Only what the service could not do is logged, and what changed. A trouble is told once when it begins and once
when it is over; what is true of many requests once in ten seconds, with how often it was. Answers are counted, and
what was decided is in [the decision log](decision-log.md). Keys, events and passwords are in no message.

Why a server cannot start is a line of the log as well, of level `CRITICAL`: on a terminal, or with `--log-format text`,
it is the bare sentence. An error in the options themselves comes before their `--log-format` is known, and is JSON
wherever stderr is no terminal. stdout is no log: it has one line, `serving version 3 on http://…`, for who started the
server and waits for its address, once it answers. Collect stderr, or let the collector pass a line that is no JSON.
"""


def metrics() -> list[str]:
    """The table of metrics."""
    rows = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for each in ALL:
        labels = [
            f"`{label}`: {', '.join(values) if len(values) <= LISTED else f'one of {len(values)}'}"
            for label, values in each.labels.items()
        ]
        if isinstance(each, Gauge) and not each.together:
            labels.append("`worker`")
        rows.append(f"| `{each.name}` | {each.shown_kind} | {'; '.join(labels)} | {each.help} |")
    return [*rows, f"| `{MODEL_INFO}` | gauge | `worker`, `name`, `version`, `digest` | {MODEL_INFO_HELP} |"]


def alerts(groups: list[dict[str, Any]]) -> list[str]:
    """The table of the alerts among these groups of rules."""
    rows = ["| alert | severity | what to do |", "|---|---|---|"]
    for rule in (rule for group in groups for rule in group["rules"] if "alert" in rule):
        todo, severity = rule["annotations"]["runbook"], rule["labels"]["severity"]
        rows.append(f"| `{rule['alert']}` | {severity} | {todo} |")
    return rows


def render() -> str:
    """The page, as Markdown."""
    service = alerts(yaml.safe_load(ALERTS.read_text())["groups"])
    pipelines = alerts(yaml.safe_load(PIPELINES.read_text())["spec"]["groups"])
    return "\n".join([HEAD, *metrics(), "", BETWEEN, *service, "", PIPELINE_ALERTS, *pipelines, "", FOOT])


if __name__ == "__main__":
    (HERE / "observability.md").write_text(render())
