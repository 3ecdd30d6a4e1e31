"""One candidate of each framework goes from a feature table to a signed bundle and a record of how."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from mlops import metrics
from mlops.bundle import open_bundle
from mlops.contract import Candidate
from mlops.errors import ConfigError, InputError
from mlops.model import Model, open_model
from mlops.settings import Settings
from tests.training import example
from tests.training.example import FIRST_DAY, USE_CASE, write_feature_table
from training import tracking, train
from training.dataset import load_dataset
from training.lineage import code_digest
from training.results import TrainResult
from training.split import split_windows
from training.train import train_candidate
from training.trainers import Place

FRAMEWORKS = ["trees", "torch", "keras"]


@pytest.fixture(scope="session", params=FRAMEWORKS)
def result(request: pytest.FixtureRequest, home: Path, features: Path, trees: TrainResult) -> TrainResult:
    if request.param == "trees":
        return trees
    return train_candidate(example.spec(home, features, request.param))


def test_the_model_learns_and_its_graph_says_the_same(result: TrainResult) -> None:
    assert result.figures.auc.value > 0.9
    assert result.figures.ap.value > result.figures.baseline_ap
    assert result.figures.ap.low < result.figures.ap.value < result.figures.ap.high
    assert 0 <= result.onnx_max_abs_diff <= 1e-5
    assert result.onnx_rows == USE_CASE.policy.gate.parity_rows


def test_the_graph_takes_any_number_of_rows_and_gives_probabilities(
    result: TrainResult, features: Path, public_key: Path
) -> None:
    model = open_bundle(result.bundle, public_key=public_key).model
    data = load_dataset(features, USE_CASE, first_day=FIRST_DAY, days=8)
    many = Model(model)(data.features)
    assert many.shape == (3_200,)
    assert many.dtype == np.float32
    assert ((many >= 0) & (many <= 1)).all()
    assert Model(model)(data.features[7:8]) == pytest.approx(many[7:8], abs=1e-6)
    # Probabilities, not just a ranking: on the test days they add up to about the failures that there were.
    test = split_windows(data, USE_CASE.policy.split).test
    assert many[test].sum() == pytest.approx(data.label[test].sum(), rel=0.25)


def test_the_bundle_is_signed_names_its_run_and_scores_its_golden_rows(
    result: TrainResult, public_key: Path
) -> None:
    bundle = open_bundle(result.bundle, public_key=public_key)
    open_model(bundle)
    assert bundle.digest == result.digest
    assert (bundle.manifest.run_id, bundle.manifest.framework) == (result.run_id, result.framework)
    assert bundle.features == USE_CASE.features
    assert bundle.schema.whole_number_ids == ("machine",)
    assert len(bundle.golden.scores) == 32
    assert bundle.golden.scores == sorted(bundle.golden.scores)
    assert bundle.golden.scores[-1] > 0.5 > bundle.golden.scores[0]
    assert 0 < bundle.decisions.review_at <= bundle.decisions.decline_at
    assert f"{result.figures.ap.value:.3f}" in bundle.card


def test_the_evaluation_holds_what_the_figures_were_computed_from(
    result: TrainResult, features: Path
) -> None:
    table = pq.read_table(result.evaluation)
    label, score = table["label"].to_numpy(), table["score"].to_numpy()
    assert metrics.average_precision(label, score) == pytest.approx(result.figures.ap.value)
    assert metrics.auc(label, score) == pytest.approx(result.figures.auc.value)
    cards = metrics.card_precision_at_k(table["day"].to_numpy(), table["card"].to_numpy(), label, score, k=10)
    assert cards == result.figures.card_precision
    assert len(table) == result.figures.events
    assert label.sum() == result.figures.positives
    assert {"id", "event_time", "amount"} <= set(table.column_names)


def test_mlflow_holds_what_was_done_and_what_came_of_it(
    result: TrainResult, home: Path, features: Path
) -> None:
    run = tracking.client(example.settings(home)).get_run(result.run_id)
    candidate = next(c for c in USE_CASE.candidates if c.name == result.name)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["ap"] == pytest.approx(result.figures.ap.value)
    assert run.data.params["builder"] == candidate.builder
    assert {"candidate", "framework", "seed", "features_digest"} <= set(run.data.tags)
    assert run.inputs.dataset_inputs[0].dataset.digest == "0-False-False"
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    assert (artifacts / "bundle" / "model.sig").is_file()
    assert (artifacts / "evaluation.parquet").is_file()
    losses = tracking.client(example.settings(home)).get_metric_history(result.run_id, "train_loss")
    assert [m.step for m in losses] == list(range(0 if result.name == "trees" else 12))


def test_the_same_seed_gives_the_same_scores(result: TrainResult, features: Path, settings: Settings) -> None:
    again = train_candidate(example.spec(settings.home, features, result.name))
    scores = [pq.read_table(r.evaluation)["score"].to_numpy() for r in (result, again)]
    assert (scores[0] == scores[1]).all()


def test_another_seed_gives_another_model(trees: TrainResult, features: Path, settings: Settings) -> None:
    other = train_candidate(example.spec(settings.home, features, seed=1))
    assert other.figures.ap != trees.figures.ap


def test_training_again_replaces_the_bundle_and_keeps_both_runs(settings: Settings, features: Path) -> None:
    first, second = (train_candidate(example.spec(settings.home, features)) for _ in range(2))
    assert first.bundle == second.bundle
    assert first.run_id != second.run_id
    assert first.digest != second.digest
    assert sorted(p.name for p in first.bundle.parent.iterdir()) == ["bundle", "evaluation.parquet"]


def test_a_fit_that_fails_is_recorded_as_failed_and_leaves_no_bundle(
    settings: Settings, features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Candidate(
        name="broken",
        framework="scikit-learn",
        builder="usecases.fraud.models:extra_trees",
        params={"trees": -1},
    )
    monkeypatch.setattr(example, "USE_CASE", msgspec.structs.replace(USE_CASE, candidates=(broken,)))
    with pytest.raises(ValueError, match="n_estimators"):
        train_candidate(example.spec(settings.home, features, "broken"))
    mlflow = tracking.client(settings)
    (run,) = mlflow.search_runs([tracking.prepare_tracking(settings, "machines")])
    assert run.info.status == "FAILED"
    assert not [path for path in settings.bundles.rglob("*") if path.suffix in {".onnx", ".json"}]


def test_an_unknown_candidate_is_refused_with_the_names_that_there_are(
    tmp_path: Path, features: Path
) -> None:
    with pytest.raises(ConfigError, match="choose one of trees, torch, keras"):
        train_candidate(example.spec(tmp_path, features, "forest"))


def test_no_key_is_made_in_a_folder_that_a_setting_names(
    settings: Settings, features: Path, tmp_path: Path
) -> None:
    named = msgspec.structs.replace(settings, signing_key=str(tmp_path / "named"))
    with pytest.raises(ConfigError, match="named: no key pair"):
        train_candidate(example.spec(settings.home, features, settings=named))
    assert not (tmp_path / "named").exists()
    assert not settings.artifacts.exists()


def test_no_key_is_made_where_a_champion_was_signed_with_another(settings: Settings, features: Path) -> None:
    settings.pointer.parent.mkdir(parents=True)
    settings.pointer.write_text("{}")
    with pytest.raises(ConfigError, match="no key pair"):
        train_candidate(example.spec(settings.home, features))
    assert not settings.keys.exists()


def test_a_split_by_day_needs_a_first_day(settings: Settings, features: Path) -> None:
    timeless = msgspec.structs.replace(example.spec(settings.home, features), first_day="")
    with pytest.raises(InputError, match="name the first day of training"):
        train_candidate(timeless)


def test_unlabelled_events_are_left_out_and_reported(settings: Settings) -> None:
    folder = write_feature_table(settings.features, unlabelled=300)
    found = train_candidate(example.spec(settings.home, folder))
    assert found.unlabelled == 300
    assert found.figures.train_events < 1_200
    assert "300 events whose label is not known" in (found.bundle / "card.md").read_text()


def test_data_that_cannot_be_learned_from_leaves_no_run(settings: Settings) -> None:
    folder = write_feature_table(settings.features, per_day=40)
    with pytest.raises(InputError, match="too few to train on"):
        train_candidate(example.spec(settings.home, folder))
    assert not settings.artifacts.exists()


def test_a_use_case_without_cards_and_amounts_is_trained_as_well(
    settings: Settings, features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = msgspec.structs.replace(USE_CASE, card="", amount="")
    monkeypatch.setattr(example, "USE_CASE", plain)
    found = train_candidate(example.spec(settings.home, features))
    assert found.figures.card_precision is None
    assert found.figures.auc.value > 0.9
    assert "card" not in pq.read_table(found.evaluation).column_names


class _Begun(Exception):
    """Instead of a fit."""


def test_a_fit_is_told_which_code_it_follows_from(
    home: Path, features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(*arguments: object, place: Place, **more: object) -> None:
        raise _Begun(place.code)

    monkeypatch.setattr(train, "trainer_for", lambda framework: begin)
    spec = example.spec(home, features, "torch")
    code = code_digest(spec.settings.usecase, USE_CASE.candidate("torch"))
    with pytest.raises(_Begun, match=code):
        train_candidate(spec)
