"""A regression of events without times goes from a feature table to a signed bundle and through the gate."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mlops import regression
from mlops.bundle import open_bundle
from mlops.model import open_model
from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY
from tests.training import flats
from training import tracking
from training.gate import Verdict, judge
from training.results import TrainResult, TrainSpec
from training.train import train_candidate


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flats")


@pytest.fixture(scope="module")
def features(home: Path) -> Path:
    return flats.write_feature_table(home / "features")


def train(home: Path, features: Path, out: str = "bundles") -> TrainResult:
    settings = Settings(home=home, usecase="tests.training.flats")
    return train_candidate(
        TrainSpec(
            settings=settings, candidate="linear", features=features, first_day="", seed=0, out=home / out
        )
    )


@pytest.fixture(scope="module")
def result(home: Path, features: Path) -> TrainResult:
    return train(home, features)


def judged(result: TrainResult, home: Path, features: Path, champion: TrainResult | None = None) -> Verdict:
    return judge(
        result,
        flats.USE_CASE,
        champion=champion.bundle if champion else None,
        features=features,
        public_key=home / "keys" / PUBLIC_KEY,
    )


def test_the_figures_are_those_of_the_evaluation(result: TrainResult) -> None:
    table = pq.read_table(result.evaluation)
    assert table.column_names == ["id", "label", "score"]
    label, score = table["label"].to_numpy(), table["score"].to_numpy()
    assert result.figures.rmse.value == pytest.approx(regression.rmse(label, score))
    assert (result.figures.events, result.figures.train_events, result.unlabelled) == (98, 294, 10)
    assert 40 < result.figures.rmse.value < 60 < result.figures.baseline_rmse


def test_the_bundle_decides_nothing_and_gives_its_golden_rows(result: TrainResult, home: Path) -> None:
    bundle = open_bundle(result.bundle, public_key=home / "keys" / PUBLIC_KEY)
    open_model(bundle)
    assert bundle.decisions is None and bundle.schema.task == "regression"
    assert bundle.golden.tolerance > 1e-3  # of rents around 1,300
    assert f"{result.figures.rmse.value:.4g}" in bundle.card
    assert "drawn at random" in bundle.card and "Decisions" not in bundle.card
    assert bundle.manifest.metrics["rmse"] == result.figures.rmse.value


def test_the_run_is_on_record(result: TrainResult, home: Path) -> None:
    run = tracking.client(Settings(home=home, usecase="tests.training.flats")).get_run(result.run_id)
    assert run.data.metrics["rmse"] == pytest.approx(result.figures.rmse.value)
    assert run.data.params["train"] == "0.6"


def test_the_first_one_is_admitted_and_is_no_better_than_itself(
    result: TrainResult, home: Path, features: Path
) -> None:
    first = judged(result, home, features)
    assert first.admitted
    passed = {check.name for check in first.checks if check.passed}
    assert passed >= {"test_events", "constant", "baseline", "calibration", "onnx_parity", "latency", "size"}
    again = judged(result, home, features, champion=result)
    assert [check.name for check in again.checks if check.passed is False] == ["champion"]
    assert again.champion_figure == pytest.approx(result.figures.rmse.value)


def test_one_that_knows_the_new_rents_takes_over(result: TrainResult, home: Path) -> None:
    dearer = flats.write_feature_table(home / "dearer", seed=1, dearer=1.5)
    retrained = train(home, dearer, out="retrained")
    verdict = judged(retrained, home, dearer, champion=result)
    assert verdict.admitted
    assert verdict.champion_figure is not None
    assert verdict.champion_figure > 5 * retrained.figures.rmse.value
