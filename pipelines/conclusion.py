"""How a run of the lifecycle ended, and what the home holds since: what an engine says last."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mlops.deployment import read_deployment
from mlops.settings import Settings
from mlops.storage import read_json, write_json
from monitoring.monitor import RESULT
from monitoring.results import MonitorResult
from pipelines.release import RELEASE, Release
from pipelines.report import ValidateResult

__all__ = ["CONCLUSION", "Conclusion", "conclude"]

CONCLUSION = "conclusion.json"


class Conclusion(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended, and the last that each step has left in the home, of this run or of one before it.

    Fields:
        run: the engine's name of the run.
        state: how it ended, in the engine's word; `error` is what it says of a failure.
        written_at: ISO 8601, UTC.
        validation: of the last delivery, with why it was refused, if it was; None where there was none. `validated_at`
            is when it was written, ISO 8601, UTC, so that it can be told from that of an earlier run; else empty.
        release: what the gate said, in a sentence; None where nothing was trained. `released_at` likewise.
        champion: the version that serving follows; None where none does.
        monitored: the days last looked at; `alerts` are the sentences of what was found.
        retrain: monitoring asks for another training.
    """

    run: str
    state: str
    error: str
    written_at: str
    validation: str | None
    release: str | None
    champion: str | None
    monitored: str | None
    alerts: tuple[str, ...]
    retrain: bool
    validated_at: str = ""
    released_at: str = ""

    @property
    def line(self) -> str:
        """All of it in one line."""
        said = [f"{self.run}: {self.state}{f' ({self.error})' if self.error else ''}"]
        said += [f"events at {self.validated_at}: {self.validation}"] if self.validation else []
        said += [f"at {self.released_at} {self.release}"] if self.release else []
        said += [f"champion: {self.champion or 'none'}"]
        if self.monitored:
            count, wish = len(self.alerts), ", retrain" if self.retrain else ""
            said += [f"{self.monitored}: {count} alert{'s' * (count != 1)}{wish}"]
        return "; ".join(said)


def conclude(settings: Settings, *, run: str, state: str, error: str = "") -> Conclusion:
    """Say how a run ended, in `conclusion.json` of the home.

    Raises:
        InputError: a file that a step left is damaged.
    """
    deployment = read_deployment(settings.pointer)
    release, looks = settings.home / RELEASE, sorted(settings.monitoring.glob(f"*/{RESULT}"))
    look = read_json(looks[-1], MonitorResult) if looks else None
    outcome = Conclusion(
        run=run,
        state=state,
        error=error,
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
        validation=_validated(settings.validation) if settings.validation.exists() else None,
        release=read_json(release, Release).sentence if release.exists() else None,
        champion=deployment.champion.version if deployment else None,
        monitored=f"{look.first_day} to {look.last_day}" if look else None,
        alerts=tuple(alert.text for alert in look.alerts) if look else (),
        retrain=bool(look and look.request),
        validated_at=_written(settings.validation),
        released_at=_written(release),
    )
    write_json(settings.home / CONCLUSION, outcome)
    return outcome


def _written(path: Path) -> str:
    if not path.exists():
        return ""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")


def _validated(report: Path) -> str:
    result = read_json(report, ValidateResult)
    if result.passed_over and not result.rows_in:
        rows = f"nothing new in {result.passed_over:,} files"
        return rows if not result.outcome.failed else f"{rows}, refused: {'; '.join(result.outcome.failed)}"
    rows = f"{result.good:,} good and {result.quarantined:,} quarantined of {result.rows_in:,} rows"
    if result.outcome.published and not result.outcome.forced:
        return rows
    return f"{rows}, {'forced' if result.outcome.forced else 'refused'}: {'; '.join(result.outcome.failed)}"
