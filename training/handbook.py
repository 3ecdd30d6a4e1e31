"""The published protocol, whole: which days, which events, which figures, and how parameters are chosen.

A model is trained on 7 days, waits 7 days for labels, and is tested on 7 days without the cards that are known as
defrauded by then (`training.split`). Table A is one such split. Table B is the mean of four, a week apart, with the
parameters that were best on four validation folds; those are a week apart as well, the last one's test days being the
first test fold's training days (`training.folds`).

Source: Le Borgne et al., Reproducible Machine Learning for Credit Card Fraud Detection (2022), chapters 3 to 5.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops.contract import Candidate, Effort, load_dotted, load_use_case
from mlops.errors import ConfigError, InputError
from mlops.metrics import auc, average_precision, card_precision_at_k
from mlops.policy import Split
from mlops.search import check_search
from training.dataset import load_dataset
from training.examples import ArrayExamples
from training.folds import folds
from training.published import FOLDS, SINGLE, Figures
from training.split import split_windows
from training.study import best_of, open_study
from training.trainers import Place, trainer_for
from training.tune import BUDGETS

__all__ = [
    "PROTOCOL",
    "Dates",
    "Fold",
    "Judged",
    "Trial",
    "best_by",
    "choose_dates",
    "judge",
    "load_fold",
    "mean_figures",
    "tuned_params",
]

PROTOCOL = Split(train_days=7, delay_days=7, test_days=7)
CARDS_A_DAY = 100


class Dates(msgspec.Struct, frozen=True, kw_only=True):
    """First training days, ISO dates.

    Fields:
        published: whether they are those of the published tables; if not, they are counted back from the end of the
            data in the same way.
        single: table A's.
        test, validation: table B's folds, the latest first.
    """

    published: bool
    single: str
    test: tuple[str, ...]
    validation: tuple[str, ...]


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One model to fit on one fold. Pickles, so that it can be done in another process.

    Fields:
        usecase: the package of the use case that the feature table is one of.
        table: the feature table.
        start: first training day, ISO date.
        names: the features to read, in order.
        params: the builder's and the trainer's, all of them.
    """

    usecase: str
    table: Path
    start: str
    model: Candidate
    names: tuple[str, ...]
    params: dict[str, Any]
    seed: int = 0


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a trial on its test events, and what the fit took."""

    figures: Figures
    fit_s: float


def choose_dates(first_event: date, last_event: date, *, count: int = 4) -> Dates:
    """The days of both tables: the published ones where the data have them, else as late as they allow.

    Args:
        last_event: the last day whose labels are known.
        count: of test folds, and of validation folds.

    Raises:
        InputError: the data have too few days.
    """
    week, whole = timedelta(days=PROTOCOL.test_days), timedelta(days=PROTOCOL.days - 1)
    latest = date.fromisoformat(FOLDS[0])
    published = latest + whole <= last_event
    for is_published in (True, False) if published else (False,):
        newest = latest if is_published else last_event - whole
        test = [(newest - week * fold).isoformat() for fold in range(count)]
        validation = folds(test[-1], PROTOCOL, first_event.isoformat(), count=count)
        if len(validation) == count:
            # The published single split is the earliest of the four folds.
            single = SINGLE if is_published else test[-1]
            return Dates(
                published=is_published, single=single, test=tuple(test), validation=tuple(validation)
            )
    needed = 2 * count * PROTOCOL.test_days + PROTOCOL.train_days + 2 * PROTOCOL.delay_days
    raise InputError(
        f"{(last_event - first_event).days + 1} days of events whose labels are known, and {count} test and "
        f"validation folds need {needed}",
        where="events",
        todo="bring more days",
    )


class Fold(msgspec.Struct, frozen=True, kw_only=True):
    """What is trained on, and what is tested on after known cards are taken out.

    Fields:
        names: of the features.
        train, test: features [n, f] float32.
        train_labels, labels: [n], 0 or 1.
        ids, day, card: [n], of the test events.
    """

    names: tuple[str, ...]
    train: NDArray[np.float32]
    train_labels: NDArray[np.int8]
    test: NDArray[np.float32]
    labels: NDArray[np.int8]
    ids: NDArray[Any]
    day: NDArray[np.int64]
    card: NDArray[Any]

    def figures(self, scores: NDArray[Any]) -> Figures:
        """What scores [n] of the test events are worth.

        Raises:
            InputError: one class only, or a score that is no number.
        """
        return Figures(
            auc=auc(self.labels, scores),
            ap=average_precision(self.labels, scores),
            cp100=card_precision_at_k(self.day, self.card, self.labels, scores, CARDS_A_DAY).value,
        )


@lru_cache(maxsize=8)  # a process judges many models on the eight folds of table B
def load_fold(usecase: str, table: Path, start: str) -> Fold:
    """The fold that begins on `start`, with all features of the use case; its arrays are not to be changed.

    Raises:
        InputError: no feature table that has this fold.
    """
    use_case = load_use_case(usecase)
    data = load_dataset(table, use_case, first_day=start, days=PROTOCOL.days)
    windows = split_windows(data, PROTOCOL)
    if data.card is None or data.day is None:
        raise ConfigError("the events have no cards to count", where=usecase)
    return Fold(
        names=data.names,
        train=data.features[windows.train],
        train_labels=data.label[windows.train],
        test=data.features[windows.test],
        labels=data.label[windows.test],
        ids=data.ids[windows.test],
        day=data.day[windows.test],
        card=data.card[windows.test],
    )


def judge(trial: Trial) -> Judged:
    """Fit a model on the training days of its fold, and judge it on the test days.

    Raises:
        ConfigError: no such builder or trainer.
        InputError: no feature table that has this fold, or one class only.
    """
    fold = load_fold(trial.usecase, trial.table, trial.start)
    model, columns = trial.model, [fold.names.index(name) for name in trial.names]
    fit, builder = trainer_for(model.framework), load_dotted(model.builder)
    examples = ArrayExamples(np.ascontiguousarray(fold.train[:, columns]), fold.train_labels)
    started = time.perf_counter()
    fitted = fit(
        builder,
        trial.params,
        examples,
        task="classification",
        seed=trial.seed,
        place=Place(log=lambda *_: None),
    )
    seconds = time.perf_counter() - started
    scores = fitted.predict(np.ascontiguousarray(fold.test[:, columns]))
    return Judged(figures=fold.figures(scores), fit_s=seconds)


def tuned_params(trial: Trial, validation: Sequence[str], effort: Effort, database: Path) -> dict[str, Any]:
    """The parameters that `training.tune` would choose; the folds are those loaded anyway, and one seed is tried.

    Args:
        trial: with the declared parameters; of whatever fold.
        validation: the folds to choose on, by their first training day.
        database: where the studies of these data lie; SQLite.

    Raises:
        ConfigError: a search space that does not fit the declared parameters.
        InputError: no feature table that has these folds.
    """
    search, declared = trial.model.search, trial.params
    check_search(search, declared, f"candidate {trial.model.name}")

    def measure(params: dict[str, Any]) -> Generator[float, None, None]:
        for start in validation:
            yield judge(msgspec.structs.replace(trial, start=start, params=declared | params)).figures.ap

    with open_study(
        database,
        trial.model.name,
        search,
        {name: declared[name] for name in search},
        larger_is_better=True,
        seed=trial.seed,
        lock=trial.model.name,
    ) as study:
        for _ in study.run(measure, BUDGETS[effort], len(validation)):
            pass
        return declared | best_of(study.within(BUDGETS[effort]), larger_is_better=True).params


def mean_figures(folds_: Iterable[Figures]) -> Figures:
    """Each figure's mean over the folds."""
    every = list(folds_)
    return Figures(**{name: fmean(getattr(f, name) for f in every) for name in Figures.__struct_fields__})


def best_by(figure: str, validated: Sequence[Figures]) -> int:
    """Which of the parameters is best by a figure's mean over the validation folds; of equal ones the first."""
    return max(range(len(validated)), key=lambda n: (getattr(validated[n], figure), -n))
