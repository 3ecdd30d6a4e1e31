"""What Databricks' jobs run beside the `mlops` command: a candidate a task, the gate, and what conditions ask.

The notebooks in `infra/databricks` call these functions, and these call the lifecycle's own. Tasks of a job have no
process and often no machine in common: what one leaves for another lies in the home.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

from mlops.contract import Effort
from mlops.errors import ConfigError, InputError
from mlops.settings import Settings
from mlops.storage import read_json, write_json
from pipelines import lifecycle
from pipelines.retrain import due_request
from training import registry
from training.results import TrainResult

__all__ = ["NOBODY", "challenger", "gate", "retraining_due", "train"]

NOBODY = "none"  # a task value that is no version; conditions compare text, and an empty one cannot be seen


def train(
    settings: Settings, *, run: str, candidate: str, train_from: str = "", effort: Effort = "quick"
) -> TrainResult:
    """Train one candidate, and leave its result for the `gate` of the same run.

    Args:
        run: the job run's id, the same for all its tasks, also when it is repaired.
        train_from: the first day of training, as 2018-07-25; empty for the latest that leaves room for the test.

    Raises:
        ConfigError: that is not a date.
        and what `lifecycle.train_one` raises.
    """
    first_day = _day(train_from, "train_from") if train_from else lifecycle.default_training_day(settings)
    result = lifecycle.train_one(settings, candidate, first_day, effort=effort)
    write_json(_results(settings, run) / f"{candidate}.json", result)
    return result


def gate(settings: Settings, *, run: str) -> lifecycle.Release:
    """Judge and register what this run's tasks have trained; a candidate that none could train is not among them.

    Raises:
        InputError: there is none.
    """
    found = sorted(_results(settings, run).glob("*.json"))
    if not found:
        raise InputError("no candidate was trained", where=_results(settings, run))
    results = [read_json(path, TrainResult) for path in found]
    verdicts = [lifecycle.judge(settings, result) for result in results]
    return lifecycle.register(settings, results, verdicts)


def challenger(settings: Settings) -> str:
    """The version that the gate admitted and that waits for promotion, or `NOBODY`."""
    return registry.status(settings).challenger or NOBODY


def retraining_due(settings: Settings, as_of: str) -> bool:
    """Whether there is a request of monitoring's to act on at the start of a day, written as 2018-07-25.

    Raises:
        ConfigError: that is not a date.
    """
    return due_request(settings, _day(as_of, "as_of")) is not None


def _results(settings: Settings, run: str) -> Path:
    return settings.home / "databricks" / run


def _day(text: str, where: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a date", where=where, todo="write it as 2018-07-25") from None
