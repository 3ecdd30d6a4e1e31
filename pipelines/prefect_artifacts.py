"""What Prefect's pages show of a run: figures, the gate's verdicts, drift, and links to reports."""

from __future__ import annotations

import re
from collections.abc import Sequence

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from mlops.settings import Settings
from monitoring.results import MonitorResult
from pipelines.release import Release
from training.results import TrainResult
from training.tracking import prepare_tracking

__all__ = ["show_candidates", "show_gate", "show_look"]


def show_candidates(settings: Settings, results: Sequence[TrainResult]) -> None:
    """A row of figures for each candidate, and links to its report and, where MLflow has pages, to its run."""
    rows = [
        {
            "candidate": result.name,
            "framework": result.framework,
            **result.figures.metrics(),
            "fit seconds": result.seconds,
            "run": result.run_id,
        }
        for result in results
    ]
    create_table_artifact(table=rows, key="candidates", description="Figures of each candidate's test.")
    for result in results:
        create_link_artifact(
            link=(result.bundle / "evaluation.html").as_uri(),
            link_text=f"The evaluation of {result.name}",
            key=_key("evaluation", result.name),
        )
        if (address := _run_page(settings, result)) is not None:
            create_link_artifact(
                link=address, link_text=f"The run of {result.name}", key=_key("mlflow", result.name)
            )


def show_gate(release: Release) -> None:
    """What the gate said of each candidate, check by check."""
    lines = [f"**{release.sentence}**"]
    for name, verdict in release.verdicts.items():
        lines += ["", f"## {name}: {'admitted' if verdict.admitted else 'refused'}", ""]
        lines += [f"- {_MARKS[check.passed]} {check.text}" for check in verdict.checks]
    create_markdown_artifact(markdown="\n".join(lines), key="gate", description="The gate's verdicts.")


def show_look(settings: Settings, look: MonitorResult) -> None:
    """Each feature's drift, what alerts there are, and a link to the page."""
    columns = look.drift.columns if look.drift else ()
    rows = [
        {
            "feature": column.name,
            "statistic": column.statistic,
            "value": column.value,
            "threshold": column.threshold,
            "drifted": column.drifted,
        }
        for column in columns
    ]
    said = "; ".join(alert.text for alert in look.alerts) or "no alert"
    create_table_artifact(table=rows, key="drift", description=f"{look.first_day} to {look.last_day}: {said}")
    page = settings.monitoring / look.as_of[:10] / "report.html"
    create_link_artifact(link=page.as_uri(), link_text="The look's page", key="look")


_MARKS = {True: "passed:", False: "failed:", None: "not judged:"}


def _key(*words: str) -> str:
    """Lower-case letters, digits and dashes, as Prefect wants them."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")


def _run_page(settings: Settings, result: TrainResult) -> str | None:
    if not settings.tracking_uri.startswith(("http://", "https://")):
        return None
    experiment = prepare_tracking(settings, result.use_case)
    return f"{settings.tracking_uri.rstrip('/')}/#/experiments/{experiment}/runs/{result.run_id}"
