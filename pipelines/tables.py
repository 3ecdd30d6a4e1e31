"""Results as tables for a terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from monitoring.results import MonitorResult, Scores
from pipelines.bench_handbook import HandbookBench
from pipelines.demo_days import CHANGE_DAY, LAST_REPLAYED, RETRAIN_DAY, SERVE_DAY
from pipelines.demo_results import Summary
from pipelines.lifecycle import Release, RunResult
from training.published import Figures
from training.registry import Status
from training.results import TrainResult

__all__ = [
    "as_text",
    "demo_table",
    "handbook_table",
    "monitor_table",
    "plain_table",
    "release_table",
    "run_table",
    "status_table",
]


def demo_table(summary: Summary) -> str:
    """What the demo found, a line each."""
    table = plain_table("The loop", "", "")
    before, after = summary.champion_before, summary.champion_after
    rows = [
        ("events in", f"{summary.events_in:,}, {summary.events_quarantined:,} quarantined"),
        ("candidates", ", ".join(f"{c.name} AP {c.ap:.3f}" for c in summary.candidates)),
        ("champion at first", f"version {before.version}, {before.framework}"),
        (f"AP before the change, days {SERVE_DAY}–{CHANGE_DAY - 1}", _score(summary.ap_before_shift)),
        ("drift", f"{len(summary.drifted_features)} features" if summary.drift_detected else "none found"),
        (f"AP after the change, days {CHANGE_DAY}–{RETRAIN_DAY - 1}", _score(summary.ap_after_shift)),
        (
            "champion at the end",
            f"version {after.version}, {after.framework}"
            if summary.retrained
            else f"version {after.version} still: no retrained model took its place",
        ),
        (f"AP at the end, days {RETRAIN_DAY + 1}–{LAST_REPLAYED}", _score(summary.ap_after_retrain)),
        ("served against batch features", f"largest difference {summary.feature_parity_max_abs_diff:g}"),
        ("ONNX against original scores", f"largest difference {summary.onnx_parity_max_abs_diff:.1e}"),
        ("requests", f"{summary.requests_sent:,} sent, {summary.requests_failed:,} failed"),
        ("time", f"{summary.wall_seconds:.0f} s"),
    ]
    for row in rows:
        table.add_row(*row)
    return as_text(table)


def run_table(result: RunResult) -> str:
    """What `mlops run` did: rows, candidates, verdicts."""
    rows = result.validated
    head = (
        f"{rows.rows_in:,} rows in ({rows.layout} layout): {rows.good:,} good, {rows.quarantined:,} quarantined, "
        f"{rows.duplicates:,} duplicates\n"
    )
    return head + release_table(result.candidates, result.release)


def release_table(results: Sequence[TrainResult], release: Release) -> str:
    """Candidates with their test figures and what the gate said."""
    table = plain_table("Candidates", "name", "framework", *results[0].figures.shown(), "gate")
    for result in results:
        verdict = release.verdicts[result.name]
        table.add_row(
            result.name,
            result.framework,
            *result.figures.shown().values(),
            "admitted"
            if verdict.admitted
            else "refused: " + ", ".join(c.name for c in verdict.checks if c.passed is False),
        )
    refusals = [f"{name}: {text}" for name, v in release.verdicts.items() for text in v.refusals]
    best = (
        f"Best: {release.candidate}, version {release.version}."
        if release.version
        else "None was admitted, so no version is the challenger now."
    )
    return as_text(table) + "\n".join([*refusals, best])


def handbook_table(result: HandbookBench) -> str:
    """The published tables beside ours, and beside the ceiling."""
    table = plain_table("", "table", "model", "features", "AUC", "AP", "CP@100", "published: AUC, AP, CP@100")

    def figures(found: Figures | None) -> list[str]:
        return (
            ["", "", ""] if found is None else [f"{found.auc:.3f}", f"{found.ap:.3f}", f"{found.cp100:.3f}"]
        )

    for row in result.rows:
        ours = figures(Figures(auc=row.auc, ap=row.ap, cp100=row.cp100))
        table.add_row(row.table, row.model, row.features, *ours, "  ".join(figures(row.published)))
    for name, found in (("A", result.ceiling_single), ("B", result.ceiling)):
        if found is not None:
            table.add_row(name, "ceiling", "", *figures(found), "")
    best = result.best
    return as_text(table) + (
        f"Best on the validation folds: {best.model}, trained in {result.winner_train_s:.0f} s; in all "
        f"{result.seconds:.0f} s."
    )


def status_table(found: Status) -> str:
    """Who should answer, who does, and where the two differ."""
    table = plain_table(f"Model {found.name}", "", "")
    table.add_row("champion", f"version {found.champion}" if found.champion else "none")
    if (changed := found.changed) is not None:
        table.add_row(
            "", f"{changed.action} by {changed.by}, {changed.at}" + f": {changed.why}" * bool(changed.why)
        )
    table.add_row("challenger", f"version {found.challenger}" if found.challenger else "none")
    if (deployment := found.deployment) is not None:
        held = deployment.champion
        table.add_row(
            "answers", f"version {held.version}, {held.candidate} ({held.framework}), {held.digest[:12]}"
        )
        if (before := deployment.previous) is not None:
            table.add_row("before it", f"version {before.version}, {before.candidate}")
    if found.rollback:
        table.add_row("mlops rollback", found.rollback)
    for stage, versions in found.stages.items():
        table.add_row(f"stage {stage}", f"version{'s' * (len(versions) > 1)} {', '.join(versions)}")
    for difference in found.differences or ("nowhere",):
        table.add_row("differs", difference)
    return as_text(table)


def monitor_table(result: MonitorResult) -> str:
    """What monitoring found, alerts last."""
    table = plain_table(f"{result.first_day} to {result.last_day}, as of {result.as_of}", "", "")
    performance = result.performance
    table.add_row(
        "served", f"{performance.served:,}, labels due {performance.due:,}, missing {performance.missing:,}"
    )
    if (period := performance.period) is not None and (figure := period.headline) is not None:
        name, form = ("average precision", ".3f") if isinstance(period, Scores) else ("RMSE", ".4g")
        table.add_row(name, f"{figure.value:{form}} ({figure.low:{form}}–{figure.high:{form}})")
    if result.drift is not None:
        names = ", ".join(result.drift.drifted_features) or "none"
        table.add_row("drifted features", f"{names} ({result.drift.share:.0%} of all)")
    for alert in result.alerts:
        table.add_row(f"alert: {alert.rule}", alert.text)
    if result.request is not None:
        table.add_row("retraining asked for", f"from {result.request.not_before}: {result.request.reason}")
    return as_text(table)


def _score(value: float | None) -> str:
    return "not measured: no labelled fraud" if value is None else f"{value:.3f}"


def plain_table(title: str, *headings: str) -> Table:
    """A table without lines, a column for each heading; without headings as many as its rows have."""
    table = Table(
        title=title, title_justify="left", box=None, show_header=any(headings), padding=(0, 2, 0, 0)
    )
    for heading in headings:
        table.add_column(heading)
    return table


def as_text(table: Table) -> str:
    """What a terminal of 110 columns shows, whatever this one is."""
    stream = io.StringIO()
    Console(file=stream, width=110).print(table)
    return stream.getvalue()
