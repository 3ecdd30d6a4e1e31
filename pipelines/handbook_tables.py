"""Tables A and B: who enters them, and every fit that they take, in worker processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec

from mlops.contract import EFFORTS, Candidate, Effort, load_dotted, load_use_case
from mlops.errors import ConfigError
from mlops.features import FeatureSet, Last
from mlops.settings import Settings
from training.handbook import Dates, Judged, Trial, best_by, judge, mean_figures, tuned_params
from training.handbook_models import handbook_models
from training.published import PUBLISHED, Figures

__all__ = ["CHOSEN_BY", "Entrant", "Row", "entrants", "table_rows"]

CHOSEN_BY = "ap"
_FIGURES = Figures.__struct_fields__


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A model's figures in one of the tables.

    Fields:
        features: the published fifteen, or the use case's own.
        published: of this model in the published table; beside our features it is there for comparison.
        candidate: whether it is one of the use case's candidates.
        params: what it was fitted with, by figure: in table B with the published features each figure has the
            parameters that were best for it on the validation folds, as is published; else all have those for AP.
        validation: with the parameters for AP, on the validation folds; only in table B.
        fit_s: seconds of one fit, while another ran beside it.
    """

    table: str
    model: str
    features: str
    auc: float
    ap: float
    cp100: float
    published: Figures | None
    candidate: bool
    params: dict[str, dict[str, Any]]
    validation: Figures | None
    fit_s: float


class Entrant(msgspec.Struct, frozen=True, kw_only=True):
    """A model on some features.

    Fields:
        features: "published" or "ours"; names: of them, in order.
        grid: parameters to choose among; None where they are chosen as `training.tune` does.
        candidate: whether it is one of the use case's candidates.
    """

    model: Candidate
    features: str
    names: tuple[str, ...]
    grid: tuple[dict[str, Any], ...] | None
    candidate: bool = False


def entrants(usecase: str, effort: Effort) -> list[Entrant]:
    """The published models on the published features and on ours, and the use case's candidates.

    A published model that is a candidate as well enters on our features as the candidate.

    Raises:
        ConfigError: the use case has no published features, or does not compute them.
    """
    use_case = load_use_case(usecase)
    published: FeatureSet = load_dotted(f"{usecase}.features:PUBLISHED")
    if missing := set(published.names) - set(use_case.features.names):
        raise ConfigError(f"the use case does not compute {', '.join(sorted(missing))}", where=usecase)
    # Sequences of earlier events are for the networks that read them.
    plain = tuple(n for f in use_case.features.features if not isinstance(f, Last) for n in f.names)
    candidates = [c for c in use_case.candidates if EFFORTS.index(c.effort) <= EFFORTS.index(effort)]
    found = []
    for features, names in (("published", published.names), ("ours", plain)):
        for model in handbook_models(effort):
            if features == "published" or model.candidate.name not in {c.name for c in candidates}:
                grid = tuple(model.every(effort))
                found.append(Entrant(model=model.candidate, features=features, names=names, grid=grid))
    for candidate in candidates:
        tuned = bool(candidate.search) and effort != "quick"
        found.append(
            Entrant(
                model=candidate,
                features="ours",
                names=use_case.features_of(candidate).names,
                grid=None if tuned else (candidate.params,),
                candidate=True,
            )
        )
    return found


def table_rows(
    settings: Settings,
    entered: Sequence[Entrant],
    dates: Dates,
    effort: Effort,
    *,
    pool: Executor,
    database: Path,
    say: Callable[[str], None],
) -> list[Row]:
    """All rows of both tables.

    Args:
        settings: of a home with features.
        pool: at least one worker process; one fit a worker at a time.
        database: where studies of parameters lie; of no other data.
        say: told what is waited for.
    """
    fits = _Fits(settings, pool, database)
    # All that needs no choice is asked for at once; the longest first, so that no worker waits at the end.
    longest_first = sorted(entered, key=lambda entrant: entrant.grid is not None)
    choosing = {id(entrant): fits.choose(entrant, dates, effort) for entrant in longest_first}
    single = [fits.judge(entrant, entrant.model.params, (dates.single,)) for entrant in entered]
    testing = []
    for entrant in entered:
        say(f"validation folds, {entrant.model.name} on {entrant.features} features")
        choice = choosing[id(entrant)]()
        testing.append((choice, {str(p): fits.judge(entrant, p, dates.test) for p in choice.params.values()}))
    rows = []
    for entrant, futures in zip(entered, single, strict=True):
        folds = _all(futures)
        choice = _Choice(params=dict.fromkeys(_FIGURES, entrant.model.params), validation=None)
        rows.append(_row("A", entrant, choice, dict.fromkeys(_FIGURES, folds)))
    for entrant, (choice, tests) in zip(entered, testing, strict=True):
        say(f"test folds, {entrant.model.name} on {entrant.features} features")
        rows.append(
            _row("B", entrant, choice, {name: _all(tests[str(p)]) for name, p in choice.params.items()})
        )
    return rows


class _Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters by figure, and what those for AP reach on the validation folds."""

    params: dict[str, dict[str, Any]]
    validation: Figures | None


class _Fits:
    """Fits that a pool of processes is asked for; the same one once."""

    def __init__(self, settings: Settings, pool: Executor, database: Path) -> None:
        self._settings, self._pool, self._database = settings, pool, database
        self._asked: dict[bytes, Future[Judged]] = {}

    def judge(self, entrant: Entrant, params: dict[str, Any], starts: Sequence[str]) -> list[Future[Judged]]:
        return [self._ask(self._trial(entrant, params, start)) for start in starts]

    def _trial(self, entrant: Entrant, params: dict[str, Any], start: str) -> Trial:
        return Trial(
            usecase=self._settings.usecase,
            table=self._settings.features,
            start=start,
            model=entrant.model,
            names=entrant.names,
            params=params,
        )

    def _ask(self, trial: Trial) -> Future[Judged]:
        key = msgspec.json.encode(trial, enc_hook=str)
        if key not in self._asked:
            self._asked[key] = self._pool.submit(judge, trial)
        return self._asked[key]

    def choose(self, entrant: Entrant, dates: Dates, effort: Effort) -> Callable[[], _Choice]:
        """Begin to choose an entrant's parameters; the result waits until they are found."""
        if entrant.grid is None:
            trial = self._trial(entrant, entrant.model.params, dates.validation[0])
            tuning = self._pool.submit(tuned_params, trial, dates.validation, effort, self._database)

            def tuned() -> _Choice:
                grid = (tuning.result(),)
                return _choice(entrant, grid, [self.judge(entrant, grid[0], dates.validation)])

            return tuned
        grid = entrant.grid
        return partial(_choice, entrant, grid, [self.judge(entrant, p, dates.validation) for p in grid])


def _all(futures: Sequence[Future[Judged]]) -> list[Judged]:
    return [future.result() for future in futures]


def _choice(
    entrant: Entrant, grid: Sequence[dict[str, Any]], validated: Sequence[Sequence[Future[Judged]]]
) -> _Choice:
    """Which of the grid is best for each figure, or, with features of ours, for AP."""
    means = [mean_figures(one.figures for one in _all(futures)) for futures in validated]
    by = {name: name if entrant.features == "published" else CHOSEN_BY for name in _FIGURES}
    return _Choice(
        params={name: grid[best_by(figure, means)] for name, figure in by.items()},
        validation=means[best_by(CHOSEN_BY, means)],
    )


def _row(table: str, entrant: Entrant, choice: _Choice, judged: dict[str, list[Judged]]) -> Row:
    """`judged` are the folds by figure, each with the parameters that were chosen for it."""
    means = {name: mean_figures(one.figures for one in folds) for name, folds in judged.items()}
    return Row(
        table=table,
        model=entrant.model.name,
        features=entrant.features,
        auc=means["auc"].auc,
        ap=means["ap"].ap,
        cp100=means["cp100"].cp100,
        published=PUBLISHED[table].get(entrant.model.name),
        candidate=entrant.candidate,
        params=choice.params,
        validation=choice.validation,
        fit_s=round(fmean(one.fit_s for one in judged[CHOSEN_BY]), 2),
    )
