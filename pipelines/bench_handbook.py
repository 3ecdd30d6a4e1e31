"""The published protocol on any data set in the published layout: published models and ours, beside the ceiling.

Events are validated and given features by the project's own steps, in a home of their own. Then every model is fitted
and judged as `training.handbook` says; whatever is chosen, parameters as well as the best model, is chosen by figures
of validation folds.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path

import msgspec

from mlops.contract import Effort, load_use_case
from mlops.errors import ConfigError
from mlops.policy import Split
from mlops.settings import Settings
from mlops.storage import write_json
from mlops.tables import read_event_table
from pipelines import lifecycle
from pipelines.handbook_ceiling import ceiling_figures
from pipelines.handbook_tables import CHOSEN_BY, Row, entrants, table_rows
from pipelines.workers import workers
from training.handbook import Dates, best_by, choose_dates
from training.published import FOLDS, Figures
from training.results import TrainSpec
from training.tracking import prepare_tracking
from training.train import train_candidate

__all__ = ["Best", "HandbookBench", "bench_handbook"]


class Best(Figures, frozen=True, kw_only=True):
    """The use case's candidate with the highest AP on the validation folds: its figures on the test folds."""

    model: str


class HandbookBench(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it.

    Fields:
        best: a row of table B with our features.
        ceiling: of a scorer that knows the simulator's processes, on table B's folds; None where the events do not
            say which scenario a fraud was of.
        ceiling_single: the same on table A's.
        dates: first training days; those of the published tables where the data have them.
        seconds: all of it. stages: of its parts.
        winner_train_s: the best model's whole training at this effort, alone: choosing parameters, fitting,
            export, evaluation, bundle.
        load_before: the load average of the minute before: above 0.5 times are not to be trusted.
    """

    best: Best
    ceiling: Figures | None
    ceiling_single: Figures | None
    rows: tuple[Row, ...]
    dates: Dates
    effort: Effort
    events: int
    seconds: float
    stages: dict[str, float]
    winner_train_s: float
    cores: int
    load_before: float


def bench_handbook(
    settings: Settings,
    events: str | Path,
    out: Path,
    *,
    effort: Effort = "standard",
    home: Path | None = None,
    say: Callable[[str], None] = print,
) -> HandbookBench:
    """Run both tables, and write `out`/handbook.json.

    Args:
        events: a path or URI of events in the published layout, or another that the use case knows.
        effort: "quick" is one fold, a few models and no search; "full" searches the published grids whole.
        home: a folder for the events, features and runs; a temporary one unless given.
        say: told what is being done.

    Raises:
        ConfigError: the use case has no published features, no cards, or a split that is not by time.
        ExpectationError, InputError: the events cannot be read, or are too few days.
    """
    load, started = os.getloadavg()[0], time.monotonic()
    entered = entrants(settings.usecase, effort)
    out.mkdir(parents=True, exist_ok=True)
    clock = _Clock(say)
    with tempfile.TemporaryDirectory(dir=out, prefix=".tmp-handbook-") as scratch:
        own = _settings_of(settings, home or Path(scratch))
        with clock("validate"):
            lifecycle.validate_events(own, events)
        with clock("features"):
            lifecycle.compute_features(own)
        dates = choose_dates(*_labelled_days(own), count=1 if effort == "quick" else len(FOLDS))
        with workers() as pool:
            with clock("tables"):
                database = Path(scratch) / "studies.db"
                rows = table_rows(own, entered, dates, effort, pool=pool, database=database, say=say)
            with clock("ceiling"):
                ceiling = ceiling_figures(own, (dates.test, (dates.single,)))
            best = _best(rows)
            with clock("training the winner"):
                prepare_tracking(own, load_use_case(own.usecase).name)
                spec = TrainSpec(
                    settings=own,
                    candidate=best.model,
                    features=own.features,
                    first_day=dates.test[0],
                    seed=0,
                    out=own.bundles,
                    effort=effort,
                )
                pool.submit(train_candidate, spec).result()
        result = HandbookBench(
            best=best,
            ceiling=ceiling[0] if ceiling else None,
            ceiling_single=ceiling[1] if ceiling else None,
            rows=tuple(rows),
            dates=dates,
            effort=effort,
            events=read_event_table(own.events).rows,
            seconds=round(time.monotonic() - started, 1),
            stages=clock.stages,
            winner_train_s=clock.stages["training the winner"],
            cores=os.cpu_count() or 1,
            load_before=round(load, 2),
        )
    write_json(out / "handbook.json", result)
    return result


class _Clock:
    """Says what begins, and keeps how many seconds it took."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.stages: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self._say(stage)
        begun = time.monotonic()
        yield
        self.stages[stage] = round(time.monotonic() - begun, 1)


def _settings_of(settings: Settings, home: Path) -> Settings:
    """Everything in a home of its own, whatever the settings name beside theirs."""
    elsewhere = ("tracking_uri", "store", "events_uri", "quarantine_uri", "features_uri", "signing_key")
    return msgspec.structs.replace(settings, home=home, **dict.fromkeys(elsewhere, ""))


def _labelled_days(settings: Settings) -> tuple[date, date]:
    """The first day of the events, and the last one whose labels are known."""
    split = load_use_case(settings.usecase).policy.split
    begin = lifecycle.default_training_day(settings)
    if begin is None or not isinstance(split, Split):
        raise ConfigError("events are split at random, not by day", where=settings.usecase)
    first = datetime.fromisoformat(read_event_table(settings.events).first_event).date()
    return first, begin + timedelta(days=split.days - 1)


def _best(rows: Sequence[Row]) -> Best:
    """The candidate that is best on the validation folds; its figures are of the test folds."""
    candidates = [row for row in rows if row.candidate and row.validation is not None]
    row = candidates[best_by(CHOSEN_BY, [row.validation for row in candidates if row.validation])]
    return Best(model=row.model, auc=row.auc, ap=row.ap, cp100=row.cp100)
