"""A home is of one use case, and whoever names another, or forgets to name it, is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from mlops.errors import ConfigError, InputError
from mlops.home import OWNER, claim, use_case_of
from mlops.settings import Settings
from pipelines import lifecycle, stream, training_plan
from training.registry.entries import model_name
from usecases.breast_cancer import USE_CASE as BREAST_CANCER
from usecases.fraud import USE_CASE as FRAUD

EVENTS = "TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD\n1,2018-04-01 10:00:00,7,1,10.5,0\n"


@pytest.fixture
def forgotten(tmp_path: Path) -> Settings:
    """A home of breast cancer, as of one who forgot to say so."""
    claim(Settings(home=tmp_path / "home", usecase="usecases.breast_cancer"))
    return Settings(home=tmp_path / "home")


def test_who_came_first_stays(forgotten: Settings) -> None:
    ours = Settings(home=forgotten.home, usecase="usecases.breast_cancer")
    assert use_case_of(ours) == BREAST_CANCER
    claim(ours)
    with pytest.raises(ConfigError, match=r"add --usecase usecases\.breast_cancer"):
        claim(forgotten)
    assert use_case_of(ours) == BREAST_CANCER


def test_a_home_without_events_is_anybody_s(tmp_path: Path) -> None:
    assert use_case_of(Settings(home=tmp_path)) == FRAUD
    assert not (tmp_path / OWNER).exists()


@pytest.mark.parametrize(
    "step",
    [
        lambda home: lifecycle.validate_events(home, "payments.csv"),
        lambda home: stream.stream_events(home, Path("there"), print),
        lifecycle.update_features,
        lifecycle.compute_features,
        training_plan.plan,
        model_name,
    ],
    ids=["validate", "stream", "update", "compute", "plan", "registry"],
)
def test_each_step_refuses_another_s_home(forgotten: Settings, step: Callable[[Settings], Any]) -> None:
    with pytest.raises(ConfigError, match=r"is the home of usecases\.breast_cancer, not of usecases\.fraud"):
        step(forgotten)


def test_the_first_events_that_are_taken_make_it_theirs(spark: SparkSession, tmp_path: Path) -> None:
    home = Settings(home=tmp_path / "home")
    with pytest.raises(InputError):
        lifecycle.validate_events(home, tmp_path / "none.csv")
    assert not (home.home / OWNER).exists()
    (tmp_path / "payments.csv").write_text(EVENTS)
    lifecycle.validate_events(home, tmp_path / "payments.csv")
    with pytest.raises(ConfigError, match=r"is the home of usecases\.fraud"):
        use_case_of(Settings(home=home.home, usecase="usecases.breast_cancer"))
