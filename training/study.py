"""One Optuna study: which parameters to try next, what came of those tried, and when to stop.

It lies in a SQLite database and can be killed at any moment. SQLite because a trial is then there whole or not at all,
one file holds all studies, and Optuna's own tools read it; the lock of its journal file outlives a writer that was
killed, for as long as half a minute. Several processes write to one database, each a study of its own.

A study that goes on after a kill takes the same way as one that was never killed: what a trial tries follows from the
seed, from how many trials ended before it, and from what those found. A trial that was cut off is made again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import optuna
from filelock import AcquireReturnProxy, FileLock, Timeout
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from mlops.errors import ConfigError
from mlops.search import Choice, Float, Int, Space
from mlops.storage import replace_file

__all__ = ["Budget", "Study", "Trial", "best_of", "open_study"]

log = logging.getLogger(__name__)

_STARTUP_TRIALS = 8  # drawn at random before the sampler has enough to go by
_UNPRUNED_TRIALS = 4  # completed before a median means anything
_UNPRUNED_FOLDS = 1  # beyond the first: the gain of one week is luck as often as not
_BUSY_S = 60  # how long to wait for another process that writes to the database

Measure = Callable[[dict[str, Any]], Generator[float, None, None]]
"""The figure of a model with these parameters on one fold after the other; not finite where the fit diverged."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """At most this many trials, and this many seconds spent in them."""

    trials: int
    seconds: float


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """A trial that ended.

    Fields:
        index: how many ended before it; 0 is the parameters that were declared.
        params: of the search space.
        folds: the figure on each fold, as far as it came.
        value: the mean over all folds; None where it was pruned.
        seconds: what it took; begun, ended: when that was.
    """

    index: int
    params: dict[str, Any]
    folds: tuple[float, ...]
    value: float | None
    seconds: float
    begun: datetime
    ended: datetime


class Study:
    """A study that this process alone works on. `start` are the parameters of the first trial, within `search`."""

    def __init__(
        self,
        study: optuna.Study,
        search: Mapping[str, Space],
        start: Mapping[str, Any],
        *,
        seed: int,
    ) -> None:
        self._kept, self._search, self._start, self._seed = study, search, start, seed
        self._distributions = {name: _distribution(space) for name, space in search.items()}
        # Trials run in memory and are kept when they have ended: nothing half done is ever kept.
        self._live = optuna.create_study(
            direction=study.direction,
            pruner=optuna.pruners.MedianPruner(_UNPRUNED_TRIALS, n_warmup_steps=_UNPRUNED_FOLDS),
        )
        self._live.add_trials(study.get_trials(deepcopy=False))

    @property
    def trials(self) -> list[Trial]:
        """Those that ended, in their order."""
        return [self._trial(frozen) for frozen in self._live.get_trials(deepcopy=False)]

    def within(self, budget: Budget) -> list[Trial]:
        """The trials that this budget allows. Those that an earlier, larger one paid for are left out."""
        kept: list[Trial] = []
        for trial in self.trials:
            if not _affordable(kept, budget):
                break
            kept.append(trial)
        return kept

    def run(self, measure: Measure, budget: Budget, n_folds: int) -> Iterator[Trial]:
        """Try parameters until the budget is spent; yields each trial when it has ended.

        A trial that would take longer than what is left is pruned after the fold in which that shows.

        Raises:
            Exception: whatever `measure` raises; the trial counts for nothing then.
        """
        while _affordable(ended := self.trials, budget):
            if ended:
                left = budget.seconds - sum(trial.seconds for trial in ended)
                self._try(measure, ended, n_folds, left)
            else:
                self._try_start(measure)
            self._kept.add_trial(self._live.get_trials(deepcopy=False)[-1])
            yield self.trials[-1]

    def remember(self, name: str, text: str) -> None:
        """Keep a text with the study."""
        self._kept.set_user_attr(name, text)

    def remembered(self, name: str, compute: Callable[[], float]) -> float:
        """A figure that the study keeps by name: computed once, though the process be killed in between."""
        if name not in self._kept.user_attrs:
            self._kept.set_user_attr(name, compute())
        return float(self._kept.user_attrs[name])

    def _try_start(self, measure: Measure) -> None:
        begun, clock = datetime.now(), time.perf_counter()
        found = list(measure(dict(self._start)))
        if not np.isfinite(found).all():
            raise ConfigError(
                "the fit diverges with the declared parameters",
                where=self._kept.study_name,
                todo="declare others: tuning starts from these",
            )
        trial = optuna.trial.create_trial(
            state=TrialState.COMPLETE,
            value=float(np.mean(found)),
            params={name: _inner(space, self._start[name]) for name, space in self._search.items()},
            distributions=self._distributions,
            intermediate_values=dict.fromkeys(range(len(found)), 0.0),
            user_attrs={"folds": found, "seconds": time.perf_counter() - clock},
        )
        trial.datetime_start = begun
        self._live.add_trial(trial)

    def _try(self, measure: Measure, ended: list[Trial], n_folds: int, seconds: float) -> None:
        # A sampler keeps the state of its generator in memory; a fresh one for each trial needs none.
        self._live.sampler = optuna.samplers.TPESampler(
            n_startup_trials=_STARTUP_TRIALS,
            seed=int(np.random.SeedSequence([self._seed, len(ended)]).generate_state(1)[0]),
            constant_liar=False,
        )
        begun = time.perf_counter()
        trial = self._live.ask(self._distributions)
        params = {name: _outer(space, trial.params[name]) for name, space in self._search.items()}
        found: list[float] = []
        state = TrialState.COMPLETE
        for value in measure(dict(self._start) | params):
            if not np.isfinite(value):
                state = TrialState.PRUNED
                break
            found.append(value)
            # Folds differ more than parameters do: what is compared is the gain on the first trial.
            trial.report(float(np.mean(np.subtract(found, ended[0].folds[: len(found)]))), len(found) - 1)
            late = time.perf_counter() - begun > seconds
            if len(found) < n_folds and (late or trial.should_prune()):
                state = TrialState.PRUNED
                break
        trial.set_user_attr("folds", found)
        trial.set_user_attr("seconds", time.perf_counter() - begun)
        if state == TrialState.COMPLETE:
            self._live.tell(trial, float(np.mean(found)))
        else:
            self._live.tell(trial, state=state)

    def _trial(self, frozen: FrozenTrial) -> Trial:
        assert frozen.datetime_start is not None and frozen.datetime_complete is not None
        return Trial(
            index=frozen.number,
            params={name: _outer(space, frozen.params[name]) for name, space in self._search.items()},
            folds=tuple(frozen.user_attrs["folds"]),
            value=frozen.value if frozen.state == TrialState.COMPLETE else None,
            seconds=frozen.user_attrs["seconds"],
            begun=frozen.datetime_start,
            ended=frozen.datetime_complete,
        )


@contextmanager
def open_study(
    database: Path,
    name: str,
    search: Mapping[str, Space],
    start: Mapping[str, Any],
    *,
    larger_is_better: bool,
    seed: int,
    lock: str,
) -> Iterator[Study]:
    """The study of this name; made, and the database with it, if there is none.

    Processes that name one `lock` wait for each other, and say so; for those that were killed they do not.
    """
    _make_database(database)
    with _alone(FileLock(database.with_name(f"{database.stem} {lock}.lock")), name):
        storage = _storage(database)
        try:
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                direction="maximize" if larger_is_better else "minimize",
                load_if_exists=True,
            )
            yield Study(study, search, start, seed=seed)
        finally:
            storage.remove_session()
            storage.engine.dispose()


def best_of(trials: list[Trial], *, larger_is_better: bool) -> Trial:
    """The best of trials, the first of which was not pruned; among equal ones the earliest."""
    sign = 1 if larger_is_better else -1
    return max(
        (trial for trial in trials if trial.value is not None),
        key=lambda trial: (sign * (trial.value or 0.0), -trial.index),
    )


def _alone(lock: FileLock, study: str) -> AcquireReturnProxy:
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        log.warning("%s: waits for another process that tunes this candidate", study)
        return lock.acquire()


def _affordable(ended: list[Trial], budget: Budget) -> bool:
    """Whether there is room for one more trial as long as they were, and for two whole ones with other seeds."""
    if not ended:
        return True
    spent = sum(trial.seconds for trial in ended)
    ahead = spent / len(ended) + 2 * max(trial.seconds for trial in ended if trial.value is not None)
    return len(ended) < budget.trials and spent + ahead <= budget.seconds


def _make_database(database: Path) -> None:
    """Aside, and by one process: two that make the tables at once break each other."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if database.exists():
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(database.with_suffix(".lock")):
        if not database.exists():
            with replace_file(database) as aside:
                storage = _storage(aside)
                storage.remove_session()
                storage.engine.dispose()


def _storage(database: Path) -> RDBStorage:
    return RDBStorage(f"sqlite:///{database}", engine_kwargs={"connect_args": {"timeout": _BUSY_S}})


def _distribution(space: Space) -> BaseDistribution:
    match space:
        case Int():
            return IntDistribution(space.low, space.high, log=space.log, step=space.step)
        case Float():
            return FloatDistribution(space.low, space.high, log=space.log)
        case Choice():
            return CategoricalDistribution([repr(option) for option in space.options])


def _inner(space: Space, value: Any) -> Any:
    """As Optuna keeps it: options by how they are written, since it knows no tuples, and takes 1 for True."""
    return repr(value) if isinstance(space, Choice) else value


def _outer(space: Space, value: Any) -> Any:
    if not isinstance(space, Choice):
        return value
    return next(option for option in space.options if repr(option) == value)
