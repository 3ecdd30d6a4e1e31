"""What Prefect's pages show of a run: figures, the gate's verdicts, drift, and where the reports are.

Reports are files of the home. Browsers follow no link from a server's page to a file, so their paths are shown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from mlops.settings import Settings, without_password
from monitoring.results import MonitorResult
from pipelines.release import Release
from training.results import TrainResult
from training.tracking import is_server, prepare_tracking

__all__ = ["show_candidates", "show_gate", "show_look"]


def show_candidates(settings: Settings, results: Sequence[TrainResult]) -> None:
    """A row of figures for each candidate, best first, and where its report is; links to its run in MLflow's pages."""
    best_first = sorted(results, key=lambda result: result.figures.rank)[::-1]
    rows = [
        {
            "candidate": result.name,
            "framework": result.framework,
            **result.figures.shown(),
            "fit": f"{result.seconds:.1f} s",
            "run": result.run_id,
        }
        for result in best_first
    ]
    create_table_artifact(table=rows, key="candidates", description="Figures of each candidate's test.")
    for result in best_first:
        _show_file(
            result.bundle / "evaluation.html",
            f"The evaluation of {result.name}",
            key=_key("evaluation", result.name),
        )
        if (address := _run_page(settings, result)) is not None:
            create_link_artifact(
                link=address, link_text=f"The run of {result.name}", key=_key("mlflow", result.name)
            )


def show_gate(release: Release) -> None:
    """What the gate said of each candidate, best first, check by check."""
    lines = [f"**{release.sentence}**"]
    for name, verdict in reversed(release.verdicts.items()):  # they were entered with the best last
        lines += ["", f"## {name}: {'admitted' if verdict.admitted else 'refused'}", ""]
        lines += [f"- {check.text}" for check in verdict.checks]
    create_markdown_artifact(markdown="\n".join(lines), key="gate", description="The gate's verdicts.")


def show_look(settings: Settings, look: MonitorResult) -> None:
    """Each feature's drift, what alerts there are, and where the page is."""
    columns = look.drift.columns if look.drift else ()
    rows = [
        {
            "feature": column.name,
            "statistic": column.statistic,
            "value": None if column.value is None else round(column.value, 4),
            "threshold": column.threshold,
            "drifted": column.drifted,
        }
        for column in columns
    ]
    said = "; ".join(alert.text for alert in look.alerts) or "no alert"
    create_table_artifact(table=rows, key="drift", description=f"{look.first_day} to {look.last_day}: {said}")
    _show_file(settings.monitoring / look.as_of[:10] / "report.html", "The look's page", key="look")


def _show_file(path: Path, what: str, *, key: str) -> None:
    """The path in a block of its own, to be copied."""
    create_markdown_artifact(
        markdown=f"{what}, where the worker runs:\n\n```\n{path}\n```\n", key=key, description=what
    )


def _key(*words: str) -> str:
    """Lower-case letters, digits and dashes, as Prefect wants them."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")


def _run_page(settings: Settings, result: TrainResult) -> str | None:
    if not is_server(settings):
        return None
    experiment = prepare_tracking(settings, result.use_case)
    return f"{without_password(settings.tracking_uri).rstrip('/')}/#/experiments/{experiment}/runs/{result.run_id}"
