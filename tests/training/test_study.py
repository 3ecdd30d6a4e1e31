"""A study that is killed goes on as if it never had been, prunes what cannot win, and keeps to its budget."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import optuna
import pytest
from filelock import FileLock

from mlops.errors import ConfigError
from mlops.search import Choice, Float, Int
from training.study import Budget, Trial, best_of, open_study

SEARCH = {"x": Float(-4.0, 4.0), "n": Int(1, 64, log=True), "kind": Choice(("hill", (1, 2), None))}
START = {"x": 2.5, "n": 40, "kind": None}
PLENTY = Budget(trials=24, seconds=1e9)


def figures(params: dict[str, Any]) -> Generator[float, None, None]:
    """A hill around (1, 8, "hill") that is seen better on the later of four folds, which differ by more than it."""
    height = -((params["x"] - 1) ** 2) - abs(params["n"] - 8) / 8 + 2 * (params["kind"] == "hill")
    for fold in range(4):
        yield height + 10 * (fold % 2) + 0.1 * fold * params["x"]


def study_of(
    database: Path, *, measure: Any = figures, budget: Budget = PLENTY, seed: int = 0
) -> list[Trial]:
    with open_study(database, "a study", SEARCH, START, larger_is_better=True, seed=seed, lock="x") as study:
        list(study.run(measure, budget, 4))
        return study.within(budget)


def told(trials: list[Trial]) -> list[tuple[Any, ...]]:
    """What has to be the same after a kill."""
    return [(trial.index, trial.params, trial.folds, trial.value) for trial in trials]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    """The trials of a study that nothing disturbed."""
    return study_of(tmp_path_factory.mktemp("whole") / "tuning.db")


@pytest.mark.parametrize("fits", [2, 7, 31, 55])
def test_a_study_that_was_killed_takes_the_same_way(tmp_path: Path, whole: list[Trial], fits: int) -> None:
    database = tmp_path / "tuning.db"
    code = f"""
import os, signal, sys
from pathlib import Path
from tests.training.test_study import figures, study_of

fits = 0
def deadly(params):
    global fits
    for value in figures(params):
        fits += 1
        if fits == {fits}:
            os.kill(os.getpid(), signal.SIGKILL)
        yield value

study_of(Path({str(database)!r}), measure=deadly)
"""
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=120)
    assert killed.returncode == -9, killed.stderr.decode()[-500:]
    assert told(study_of(database)) == told(whole)


def test_a_study_that_ended_is_not_run_again(tmp_path: Path, whole: list[Trial]) -> None:
    def never(params: dict[str, Any]) -> Generator[float, None, None]:
        raise AssertionError(params)
        yield

    assert told(study_of(tmp_path / "tuning.db")) == told(whole)
    assert told(study_of(tmp_path / "tuning.db", measure=never)) == told(whole)


def test_the_first_trial_is_what_was_declared(whole: list[Trial]) -> None:
    assert whole[0].params == START
    assert whole[0].folds == tuple(figures(START))


def test_the_best_is_better_than_what_was_declared_and_of_the_types_that_were(whole: list[Trial]) -> None:
    best = best_of(whole, larger_is_better=True)
    assert best.value > whole[0].value + 2
    assert best.params["kind"] == "hill"
    assert {type(trial.params["kind"]) for trial in whole} == {str, tuple, type(None)}
    assert {type(trial.params["n"]) for trial in whole} == {int}


def test_what_cannot_win_is_pruned_before_the_last_fold_and_cannot_be_chosen(whole: list[Trial]) -> None:
    pruned = [trial for trial in whole if trial.value is None]
    assert len(pruned) > 5
    assert all(2 <= len(trial.folds) < 4 for trial in pruned)
    assert all(len(trial.folds) == 4 for trial in whole if trial.value is not None)
    reached = sorted(sum(figures(trial.params)) / 4 for trial in whole if trial.value is not None)
    middle = reached[len(reached) // 2]
    assert sum(sum(figures(trial.params)) / 4 < middle for trial in pruned) > len(pruned) / 2


def test_another_seed_tries_others(tmp_path: Path, whole: list[Trial]) -> None:
    other = study_of(tmp_path / "tuning.db", seed=1, budget=Budget(trials=3, seconds=1e9))
    assert told(other)[0] == told(whole)[0]
    assert other[1].params != whole[1].params


def test_a_larger_budget_goes_on_and_a_smaller_one_leaves_out(tmp_path: Path, whole: list[Trial]) -> None:
    database = tmp_path / "tuning.db"
    assert told(study_of(database, budget=Budget(trials=5, seconds=1e9))) == told(whole[:5])
    assert told(study_of(database)) == told(whole)
    assert told(study_of(database, budget=Budget(trials=9, seconds=1e9))) == told(whole[:9])


def test_a_time_limit_leaves_room_for_two_more_seeds_and_allows_the_first_trial(tmp_path: Path) -> None:
    ended = study_of(tmp_path / "tuning.db", budget=Budget(trials=10, seconds=0.0))
    assert [trial.index for trial in ended] == [0]
    took = ended[0].seconds
    assert len(study_of(tmp_path / "tuning.db", budget=Budget(trials=10, seconds=3.9 * took))) == 1
    assert len(study_of(tmp_path / "tuning.db", budget=Budget(trials=2, seconds=4.1 * took))) == 2


def test_a_trial_that_takes_all_that_is_left_is_pruned(tmp_path: Path) -> None:
    def slow(params: dict[str, Any]) -> Generator[float, None, None]:
        for value in figures(params):
            time.sleep(0.01 if params == START else 0.5)
            yield value

    ended = study_of(tmp_path / "tuning.db", measure=slow, budget=Budget(trials=9, seconds=0.4))
    assert [(len(trial.folds), trial.value is None) for trial in ended] == [(4, False), (1, True)]


def test_among_equal_trials_the_declared_parameters_stay(tmp_path: Path) -> None:
    def flat(params: dict[str, Any]) -> Generator[float, None, None]:
        yield from (1.0, 2.0)

    ended = study_of(tmp_path / "tuning.db", measure=flat, budget=Budget(trials=6, seconds=1e9))
    assert best_of(ended, larger_is_better=True).index == 0
    assert best_of(ended, larger_is_better=False).index == 0


def test_a_fit_that_diverges_is_pruned_and_the_study_goes_on(tmp_path: Path) -> None:
    def diverging(params: dict[str, Any]) -> Generator[float, None, None]:
        for value in figures(params):
            yield value if params["x"] > 0 else float("nan")

    ended = study_of(tmp_path / "tuning.db", measure=diverging)
    lost = [trial for trial in ended if trial.params["x"] <= 0]
    assert lost
    assert all(trial.value is None and trial.folds == () for trial in lost)


def test_declared_parameters_that_diverge_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a study: the fit diverges with the declared parameters"):
        study_of(tmp_path / "tuning.db", measure=lambda params: iter([float("nan")]))


def test_a_fit_that_fails_ends_the_study_and_counts_for_nothing(tmp_path: Path, whole: list[Trial]) -> None:
    tried: list[dict[str, Any]] = []

    def failing(params: dict[str, Any]) -> Generator[float, None, None]:
        tried.append(params)
        if len(tried) == 4:
            raise ValueError("no such thing")
        yield from figures(params)

    with pytest.raises(ValueError, match="no such thing"):
        study_of(tmp_path / "tuning.db", measure=failing)
    assert told(study_of(tmp_path / "tuning.db")) == told(whole)


def test_a_figure_is_remembered_and_computed_once(tmp_path: Path) -> None:
    def study() -> Any:
        return open_study(tmp_path / "tuning.db", "a", SEARCH, START, larger_is_better=True, seed=0, lock="x")

    with study() as one:
        assert one.remembered("seed 1", lambda: 0.25) == 0.25
    with study() as again:
        assert again.remembered("seed 1", lambda: 9.0) == 0.25
        assert again.remembered("seed 2", lambda: 9.0) == 9.0


def test_processes_may_begin_on_one_fresh_database_and_work_side_by_side(
    tmp_path: Path, whole: list[Trial]
) -> None:
    database = tmp_path / "tuning.db"
    code = f"""
import sys
import time
from pathlib import Path
from tests.training.test_study import PLENTY, SEARCH, START, figures
from training.study import open_study

with open_study(Path({str(database)!r}), sys.argv[1], SEARCH, START, larger_is_better=True, seed=0,
                lock=sys.argv[1]) as study:
    list(study.run(figures, PLENTY, 4))
"""
    both = [
        subprocess.Popen([sys.executable, "-c", code, name], stderr=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    errors = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    for name in ("one", "two"):
        with open_study(database, name, SEARCH, START, larger_is_better=True, seed=0, lock=name) as study:
            assert told(study.trials) == told(whole)


def test_one_study_is_worked_on_by_one_process_at_a_time(tmp_path: Path, whole: list[Trial]) -> None:
    code = f"""
from pathlib import Path
from tests.training.test_study import study_of
study_of(Path({str(tmp_path / "tuning.db")!r}))
"""
    both = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in "ab"]
    errors = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert told(study_of(tmp_path / "tuning.db")) == told(whole)


def test_optuna_s_own_tools_read_the_database(tmp_path: Path) -> None:
    study_of(tmp_path / "tuning.db", budget=Budget(trials=3, seconds=1e9))
    read = optuna.load_study(study_name="a study", storage=f"sqlite:///{tmp_path}/tuning.db")
    assert len(read.trials) == 3
    assert isinstance(read.best_value, float)


def test_who_waits_for_another_process_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    database = tmp_path / "tuning.db"
    one = Budget(trials=1, seconds=0.0)
    found: list[list[Trial]] = []
    waiting = threading.Thread(target=lambda: found.append(study_of(database, budget=one)))
    with FileLock(tmp_path / "tuning x.lock"):
        waiting.start()
        patience = time.monotonic() + 30
        while "waits for another process" not in caplog.text and time.monotonic() < patience:
            time.sleep(0.01)
        assert "a study: waits for another process that tunes this candidate" in caplog.text
        assert not found
    waiting.join(timeout=60)
    assert len(found) == 1
