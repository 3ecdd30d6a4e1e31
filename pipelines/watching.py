"""Monitoring of a home: the server's logs become tables, and monitoring looks at them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa

from mlops.bundle import open_bundle
from mlops.deployment import bundle_path, read_deployment
from mlops.errors import InputError
from mlops.home import use_case_of
from mlops.schema import Task
from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY
from mlops.storage import read_json
from monitoring.monitor import RESULT, monitor
from monitoring.page import render_report
from monitoring.performance import between, clock_of, measure_performance, read_table
from monitoring.results import MonitorResult
from pipelines.archive import must_have_logs
from pipelines.collect import collect
from pipelines.logs import pseudonyms_of
from pipelines.parity import ParityResult, compare
from pipelines.staged import current
from training import registry

__all__ = ["Live", "collect_logs", "compare_served", "live_tables", "monitor_served", "write_reports"]


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """The tables that the server's logs become, and the features that Spark computes of them.

    Where columns are personal all hold pseudonyms, and `history` is the event table from before, with the same.
    """

    events: Path
    labels: Path
    served: Path
    features: Path
    history: Path


def live_tables(settings: Settings) -> Live:
    """Where the tables lie."""
    folder = settings.home / "live"
    return Live(**{name: folder / name for name in Live.__struct_fields__})


def collect_logs(settings: Settings) -> Live:
    """Turn the decision log and the label log into tables.

    Raises:
        ConfigError: the key of the archive's pseudonyms is missing, or is another.
        InputError: nothing was served yet, or a log is damaged.
    """
    must_have_logs(settings.decisions)
    use_case, live = use_case_of(settings), live_tables(settings)
    names, pseudonyms = registry.feature_names(settings), pseudonyms_of(settings)
    parts = live.events, live.labels, live.served
    collect(settings.decisions, *parts, use_case.events, use_case.label, names, pseudonyms)
    return live


def compare_served(settings: Settings) -> ParityResult:
    """Compare the features that were served with those that were computed of the same events since.

    Raises:
        InputError: nothing was collected, or no features were computed of it.
    """
    live, names = live_tables(settings), registry.feature_names(settings)
    return compare(live.served, live.features, names, use_case_of(settings).events.id)


def monitor_served(
    settings: Settings,
    *,
    as_of: date,
    first_day: date | None = None,
    last_day: date | None = None,
    against: date | None = None,
) -> MonitorResult:
    """Monitor what was served on some days, as things are known at the start of `as_of`.

    Args:
        first_day, last_day: the days looked at, both inclusive; the week before `as_of` by default.
        against: first day of a normal period as long as that one. Without it neither drift nor a loss is looked for;
            but where events have no time, what was trained on, and the champion's figure in its test, are the normal.

    Raises:
        InputError: the days are the wrong way round, or nothing was served yet.
    """
    use_case = use_case_of(settings)
    last_day = last_day or as_of - timedelta(days=1)
    first_day = first_day or last_day - timedelta(days=6)
    if first_day > last_day:
        raise InputError(f"{first_day} is after {last_day}", where="--from", todo="swap the two")
    live = collect_logs(settings)
    moment = datetime.combine(as_of, datetime.min.time(), UTC)
    reference: Path | pa.Table | None = None
    reference_figure = None
    if against is not None:
        end = against + (last_day - first_day)
        reference = between(read_table(live.served), clock_of(use_case), against, end)
        normal = measure_performance(
            live.served, live.labels, use_case, as_of=moment, first_day=against, last_day=end
        ).period
        reference_figure = normal.headline.value if normal and normal.headline else None
    elif not use_case.events.time:
        reference = current(settings.features, settings.features_uri)
        reference_figure = _tested(settings, use_case.task)
    return monitor(
        served=live.served,
        labels=live.labels,
        use_case=use_case,
        folder=settings.monitoring,
        first_day=first_day,
        last_day=last_day,
        as_of=moment,
        reference=reference,
        reference_figure=reference_figure,
    )


def _tested(settings: Settings, task: Task) -> float | None:
    """The champion's average precision, or root mean squared error, in its test."""
    deployment = read_deployment(settings.pointer)
    if deployment is None:
        return None
    path = bundle_path(settings.pointer, deployment.champion)
    bundle = open_bundle(path, public_key=settings.keys / PUBLIC_KEY)
    return bundle.manifest.metrics[{"classification": "ap", "regression": "rmse"}[task]]


def write_reports(settings: Settings) -> list[Path]:
    """Write a page beside each result of monitoring, and return the pages, in the order of days.

    Raises:
        InputError: monitoring has not looked yet, or a result does not parse.
    """
    results = sorted(settings.monitoring.glob(f"*/{RESULT}"))
    if not results:
        raise InputError(
            "no result of monitoring", where=settings.monitoring, todo="take a look: mlops monitor"
        )
    pages = [path.with_name("report.html") for path in results]
    for path, page in zip(results, pages, strict=True):
        render_report(read_json(path, MonitorResult), page)
    return pages
