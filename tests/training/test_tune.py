"""Tuning finds better parameters on the folds, never worse ones, is recorded, and survives being killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import optuna
import pytest
from filelock import FileLock
from sklearn.tree import DecisionTreeClassifier as Classifier

from mlops import metrics, regression
from mlops.contract import Candidate, Effort, UseCase
from mlops.errors import InputError
from mlops.policy import Split
from mlops.search import Float, Int
from mlops.settings import Settings
from mlops.spread import Spread
from tests.training import example, flats, tuned
from training import lineage, study, tracking
from training import tune as tuning
from training.folds import load_folds
from training.results import TrainSpec
from training.study import Budget
from training.tune import Tuned, tune


def other_tree(**params: Any) -> Any:
    return tuned.tree(**params)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return example.write_feature_table(tmp_path_factory.mktemp("tune") / "features", days=24, per_day=250)


def spec_of(settings: Settings, table: Path, candidate: str = "stump", **changes: Any) -> TrainSpec:
    named = msgspec.structs.replace(settings, usecase="tests.training.tuned")
    return example.spec(
        settings.home, table, candidate, **({"settings": named, "first_day": tuned.FIRST_DAY} | changes)
    )


def tune_it(spec: TrainSpec, use_case: UseCase = tuned.USE_CASE, effort: Effort = "standard") -> Tuned:
    with tracking.tracked_run(spec.settings, use_case.name, spec.candidate, {}) as run:
        return tune(spec, use_case.candidate(spec.candidate), use_case, effort=effort, run=run)


def without_time(found: Tuned) -> Tuned:
    return msgspec.structs.replace(found, seconds=0.0)


@pytest.fixture(scope="module")
def whole(table: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Tuned]:
    """A tuning that nothing disturbed, and where it lies."""
    settings = Settings(home=tmp_path_factory.mktemp("whole"))
    return settings, tune_it(spec_of(settings, table))


def ran(settings: Settings, name: str = "tuned") -> tuple[list[Any], list[list[Any]]]:
    """The candidate's runs of MLflow from the first on, and the trials below each."""
    mlflow = tracking.client(settings)
    runs = mlflow.search_runs([tracking.prepare_tracking(settings, name)], max_results=1000)
    runs.sort(key=lambda run: run.info.start_time)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [
        sorted(
            (r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id),
            key=lambda r: int(r.data.tags["trial"]),
        )
        for parent in parents
    ]
    return parents, children


def test_what_was_declared_is_bettered_on_the_folds(whole: tuple[Settings, Tuned]) -> None:
    found = whole[1]
    assert found.value is not None and found.declared is not None
    assert found.value > found.declared
    assert found.params["depth"] > 1
    assert found.metric == "ap"
    assert found.folds == ("2018-05-19", "2018-05-16", "2018-05-13", "2018-05-10")
    assert found.trials == tuning.BUDGETS["standard"].trials
    assert 0 < found.pruned < found.trials


def test_the_values_are_the_headline_figure_on_the_folds(whole: tuple[Settings, Tuned], table: Path) -> None:
    found = whole[1]
    values = []
    for fold in load_folds(table, tuned.USE_CASE, first_day=tuned.FIRST_DAY):
        features, labels = fold.examples.arrays()
        model = tuned.tree(seed=0, n_features=features.shape[1], **found.params).fit(features, labels)
        scores = model.predict_proba(fold.features)[:, 1].astype(np.float32)
        values.append(metrics.average_precision(fold.labels, scores))
    assert found.spread is not None
    assert found.spread.folds == pytest.approx(values)
    assert found.value == pytest.approx(np.mean(values))


def test_what_was_declared_is_kept_where_nothing_is_better(settings: Settings, table: Path) -> None:
    found = tune_it(spec_of(settings, table, "ideal"))
    assert found.params == {"leaf": 30}
    assert found.value == found.declared
    assert found.trials == tuning.BUDGETS["standard"].trials


def test_quick_tries_nothing_and_reads_nothing(settings: Settings) -> None:
    found = tune_it(spec_of(settings, settings.home / "no such table"), effort="quick")
    assert found == Tuned(params={"depth": 1, "leaf": 1}, metric="ap")
    assert not (settings.home / "tuning.db").exists()


def test_a_candidate_without_a_search_is_measured_only(settings: Settings, table: Path) -> None:
    found = tune_it(spec_of(settings, table, "settled"))
    assert (found.params, found.trials) == ({"depth": 4}, 1)
    assert found.spread is not None
    assert len(found.spread.folds) == 4
    assert len(found.spread.seeds) == 3


def test_seeds_that_make_other_models_spread(settings: Settings, table: Path) -> None:
    trees = msgspec.structs.replace(
        example.USE_CASE.candidates[0], params={"trees": 5}, search={"trees": Int(4, 6)}
    )
    use_case = msgspec.structs.replace(tuned.USE_CASE, candidates=(trees,))
    budget = {"standard": Budget(trials=3, seconds=600)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "BUDGETS", budget)
        found = tune_it(spec_of(settings, table, "trees"), use_case)
    assert found.spread is not None
    assert found.spread.seeds[0] == found.value == pytest.approx(np.mean(found.spread.folds))
    assert len(set(found.spread.seeds)) == 3


def test_each_trial_is_a_run_below_the_candidate_s_own(whole: tuple[Settings, Tuned]) -> None:
    settings, found = whole
    (parent,), (trials,) = ran(settings)
    assert len(trials) == found.trials
    assert all(trial.info.status == "FINISHED" for trial in trials)
    assert trials[0].data.params == {"depth": "1", "leaf": "1"}
    assert trials[0].data.metrics["ap"] == pytest.approx(found.declared)
    assert max(trial.data.metrics.get("ap", 0) for trial in trials) == pytest.approx(found.value)
    pruned = [trial for trial in trials if trial.data.tags["trial_state"] == "pruned"]
    assert len(pruned) == found.pruned
    mlflow = tracking.client(settings)
    for trial in trials:
        folds = mlflow.get_metric_history(trial.info.run_id, "ap_fold")
        assert len(folds) < 4 if trial in pruned else len(folds) == 4
        assert ("ap" in trial.data.metrics) == (trial not in pruned)
    assert parent.data.metrics["tuning_value"] == pytest.approx(found.value)
    assert parent.data.metrics["tuning_trials"] == found.trials
    assert parent.data.tags["tuning_study"].startswith("tuned stump 2018-05-24 ")


@pytest.mark.parametrize(
    ("fit", "kept"),
    [(14, 3), (10_000, 20)],  # in the middle of the fourth trial; not at all
)
def test_killed_and_started_again_it_comes_to_the_same(
    settings: Settings,
    table: Path,
    whole: tuple[Settings, Tuned],
    monkeypatch: pytest.MonkeyPatch,
    fit: int,
    kept: int,
) -> None:
    code = f"""
from pathlib import Path
from mlops.settings import Settings
from tests.training.test_tune import spec_of, tune_it
tune_it(spec_of(Settings(home=Path({str(settings.home)!r})), Path({str(table)!r})))
"""
    died = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"DIE_AT_FIT": str(fit)},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert died.returncode == (-9 if fit < 100 else 0), died.stderr.decode()[-500:]
    fitted: list[Any] = []
    monkeypatch.setattr(tuned, "DecisionTreeClassifier", lambda **kw: fitted.append(kw) or Classifier(**kw))
    again = tune_it(spec_of(settings, table))
    assert without_time(again) == without_time(whole[1])
    assert bool(fitted) == (fit < 100)
    assert not any(one["max_depth"] == 1 and one["min_samples_leaf"] == 1 for one in fitted)
    (killed, last), (first_trials, all_trials) = ran(settings)
    assert killed.info.status == ("KILLED" if fit < 100 else "FINISHED")
    assert len(first_trials) == kept
    assert len(all_trials) == again.trials
    assert last.info.status == "FINISHED"


def test_only_the_candidate_s_own_features_are_read(
    settings: Settings, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    tree = tuned.tree
    monkeypatch.setattr(tuned, "tree", lambda **kw: seen.add(kw["n_features"]) or tree(**kw))
    few(monkeypatch)
    tune_it(spec_of(settings, table, "narrow"))
    assert seen == {1}


def few(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tuning, "BUDGETS", {"standard": Budget(trials=2, seconds=600)})


def changed_candidate(**changes: Any) -> UseCase:
    candidate = msgspec.structs.replace(tuned.USE_CASE.candidate("stump"), **changes)
    return msgspec.structs.replace(tuned.USE_CASE, candidates=(candidate,))


SPLIT = msgspec.structs.replace(tuned.USE_CASE.policy, split=Split(train_days=4, delay_days=2, test_days=3))
LATER = msgspec.structs.replace(tuned.USE_CASE.label, delay_days=1)


@pytest.mark.parametrize(
    ("spec_changes", "use_case"),
    [
        ({"seed": 1}, tuned.USE_CASE),
        ({"first_day": "2018-05-23"}, tuned.USE_CASE),
        ({}, changed_candidate(search={"depth": Int(1, 15)})),
        ({}, changed_candidate(params={"depth": 2, "leaf": 1})),
        ({}, changed_candidate(builder="tests.training.test_tune:other_tree")),
        ({}, changed_candidate(features=tuned.USE_CASE.candidate("narrow").features)),
        ({}, msgspec.structs.replace(tuned.USE_CASE, policy=SPLIT)),
        ({}, msgspec.structs.replace(tuned.USE_CASE, label=LATER)),
        ({}, msgspec.structs.replace(tuned.USE_CASE, card="")),
    ],
    ids=["seed", "first day", "space", "params", "builder", "features", "split", "label", "cards"],
)
def test_trials_of_something_else_are_not_taken_up(
    settings: Settings,
    table: Path,
    monkeypatch: pytest.MonkeyPatch,
    spec_changes: dict[str, Any],
    use_case: UseCase,
) -> None:
    few(monkeypatch)
    tune_it(spec_of(settings, table))
    tune_it(spec_of(settings, table))
    storage = f"sqlite:///{settings.home}/tuning.db"
    assert len(optuna.get_all_study_names(storage)) == 1
    tune_it(spec_of(settings, table, **spec_changes), use_case)
    assert len(optuna.get_all_study_names(storage)) == 2


def test_trials_on_other_data_are_not_taken_up(
    settings: Settings, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few(monkeypatch)
    other = example.write_feature_table(tmp_path / "other", days=24, per_day=250, seed=1)
    values = {tune_it(spec_of(settings, folder)).declared for folder in (table, other)}
    assert len(values) == 2


def test_quantities_are_tuned_for_the_least_error_on_splits_at_random(
    settings: Settings, tmp_path: Path
) -> None:
    ridge = Candidate(
        name="ridge",
        framework="scikit-learn",
        builder="training.builders:ridge_regression",
        params={"alpha": 1e5},
        search={"alpha": Float(1e-3, 1e5, log=True)},
    )
    use_case = msgspec.structs.replace(flats.USE_CASE, candidates=(ridge,))
    folder = flats.write_feature_table(tmp_path / "flats")
    found = tune_it(spec_of(settings, folder, "ridge", first_day=""), use_case)
    assert found.metric == "rmse"
    assert found.value is not None and found.declared is not None
    assert found.value < found.declared / 2
    assert found.folds == ("split 1", "split 2", "split 3", "split 4")
    fold = load_folds(folder, use_case, count=1)[0]
    assert found.spread is not None
    assert found.spread.folds[0] < regression.rmse(fold.labels, np.full(len(fold.labels), fold.labels.mean()))


def test_data_without_room_for_a_fold_are_refused(settings: Settings, table: Path) -> None:
    with pytest.raises(InputError, match="no days to choose parameters on"):
        tune_it(spec_of(settings, table, first_day="2018-05-09"))
    assert not (settings.home / "tuning.db").exists()


def test_a_fit_that_draws_something_on_a_later_fold_only_has_a_spread(
    settings: Settings, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folds = load_folds(table, tuned.USE_CASE, first_day=tuned.FIRST_DAY)
    monkeypatch.setattr(tuned, "tree", _EqualAtFirst(folds[0].examples.arrays()[0]))
    found = tune_it(spec_of(settings, table, "settled"))
    assert found.spread is not None
    assert len(set(found.spread.seeds)) == 3


class _EqualAtFirst:
    """Trees whose depth follows from the seed, unless they are fitted to these examples."""

    def __init__(self, features: np.ndarray) -> None:
        self._features = features

    def __call__(self, *, seed: int, n_features: int, depth: int) -> Any:
        first = self._features

        class Tree(Classifier):  # type: ignore[misc]
            def fit(self, features: Any, labels: Any) -> Any:
                self.max_depth = depth if np.array_equal(features, first) else 1 + seed
                return super().fit(features, labels)

        return Tree(random_state=0)


def test_a_seed_that_makes_the_fit_diverge_is_told_and_survives_json(
    settings: Settings, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = tuning._measure
    monkeypatch.setattr(
        tuning, "_measure", lambda *given: float("nan") if given[-1] == 2 else measured(*given)
    )
    found = tune_it(spec_of(settings, table, "settled"))
    assert found.spread is not None
    assert found.spread.seeds == (found.value, found.spread.seeds[1], None)
    assert found.spread.over_seeds >= 0
    assert msgspec.json.decode(msgspec.json.encode(found.spread), type=Spread) == found.spread


def test_trials_of_other_code_are_not_taken_up(
    settings: Settings, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few(monkeypatch)
    tune_it(spec_of(settings, table))
    (tmp_path / "other" / "training").mkdir(parents=True)
    (tmp_path / "other" / "training" / "loop.py").write_text("EPOCHS = 3")
    monkeypatch.setattr(lineage, "_ROOT", tmp_path / "other")
    tune_it(spec_of(settings, table))
    assert len(optuna.get_all_study_names(f"sqlite:///{settings.home}/tuning.db")) == 2


def test_candidates_of_one_name_in_two_use_cases_do_not_wait_for_each_other(
    settings: Settings, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few(monkeypatch)
    locks: list[Path] = []
    monkeypatch.setattr(study, "FileLock", lambda path: locks.append(path) or FileLock(path))
    for name in ("one", "other"):
        tune_it(spec_of(settings, table), msgspec.structs.replace(tuned.USE_CASE, name=name))
    assert len({path for path in locks if "stump" in path.name}) == 2
