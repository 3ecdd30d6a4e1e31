"""What Databricks' jobs run beside the `mlops` command: a plan, a candidate a task, the gate, and what conditions ask.

The notebooks in `infra/databricks` call these functions, and these call the lifecycle's own. Tasks of a job have no
process and often no machine in common: what one leaves for another lies in the home. Candidates are trained with the
parameters that they declare: a search for others keeps its trials in SQLite, and a volume takes no such file.
"""

from __future__ import annotations

from pathlib import Path

from mlops.errors import ConfigError, InputError
from mlops.settings import Settings
from mlops.storage import read_json, write_json
from pipelines import lifecycle, parameters
from pipelines.retrain import due_request
from pipelines.training_plan import TrainingPlan
from training import registry
from training.results import TrainResult

__all__ = ["NOBODY", "challenger", "gate", "plan", "retraining_due", "train"]

NOBODY = "none"  # a task value that is no version; conditions compare text, and an empty one cannot be seen


def plan(settings: Settings, *, run: str, train_from: str = "") -> TrainingPlan:
    """Determine on which days of which feature table this run trains. Called again, it says the same.

    Args:
        run: the job run's id, the same for all its tasks, also when it is repaired.
        train_from: the first day of training, as 2018-07-25; empty for the latest that leaves room for the test.

    Raises:
        ConfigError: that is not a date.
        and what `lifecycle.plan` raises.
    """
    path = _plan(settings, run)
    if path.exists():
        return read_json(path, TrainingPlan)
    first_day = parameters.day(train_from, "train_from")
    planned = lifecycle.plan(settings, train_from=first_day)
    write_json(path, planned)
    return planned


def train(settings: Settings, *, run: str, candidate: str) -> TrainResult:
    """Train one candidate as its run planned, and leave its result for the `gate` of the same run.

    Raises:
        InputError: the run was not planned, or the feature table is another one by now.
        and what else `lifecycle.train_one` raises.
    """
    planned = read_json(_plan(settings, run), TrainingPlan)
    result = lifecycle.train_one(settings, candidate, planned.day, fingerprint=planned.fingerprint)
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
    day = parameters.day(as_of, "as_of")
    if day is None:
        raise ConfigError("no day was given", where="as_of", todo="write it as 2018-07-25")
    return due_request(settings, day) is not None


def _plan(settings: Settings, run: str) -> Path:
    return settings.home / "databricks" / run / "plan.json"


def _results(settings: Settings, run: str) -> Path:
    return settings.home / "databricks" / run / "trained"
