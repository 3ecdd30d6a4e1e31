"""The gate admits what is good enough and better than the champion, and says why it refuses the rest."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlops.errors import BundleError, InputError, IntegrityError
from mlops.metrics import Interval
from mlops.spread import Spread
from tests.training import example
from tests.training.example import USE_CASE, rewrite, write_feature_table
from training.checks import Check
from training.gate import Verdict, judge
from training.results import TrainResult
from training.train import train_candidate


@pytest.fixture(scope="session")
def retrained(home: Path, turned: Path, trees: TrainResult) -> TrainResult:
    """A model of the turned world."""
    return train_candidate(example.spec(home, turned, out=home / "retrained"))


def judged(
    result: TrainResult, features: Path, public_key: Path, champion: TrainResult | None = None
) -> Verdict:
    return judge(
        result,
        USE_CASE,
        champion=champion.bundle if champion else None,
        features=features,
        public_key=public_key,
    )


def check(verdict: Verdict, name: str) -> Check:
    (found,) = (check for check in verdict.checks if check.name == name)
    return found


def test_the_first_model_is_admitted_if_it_is_good_enough(
    trees: TrainResult, features: Path, public_key: Path
) -> None:
    verdict = judged(trees, features, public_key)
    assert verdict.admitted
    assert {c.name: c.passed for c in verdict.checks} == {
        "test_positives": True,
        "auc": True,
        "baseline": True,
        "champion": None,
        "slices": None,
        "calibration": True,
        "importance": True,
        "spread": None,
        "freshness": True,
        "onnx_parity": True,
        "latency": True,
        "size": True,
    }
    assert verdict.refusals == ()
    assert verdict.champion is None


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("test_positives", {"positives": 9}, "9 positives among the .* test events; at least 10"),
        (
            "auc",
            {"auc": Interval(value=0.69, low=0.6, high=0.7, confidence=0.9)},
            r"ROC curve of 0\.690; at least 0\.700",
        ),
        ("baseline", {"baseline_ap": 0.99}, "best single feature's 0.990"),
        (
            "importance",
            {"importance": {"load": 0.97, "is_night": 0.03}},
            "97% of what moves the scores is load",
        ),
        ("freshness", {"trained_until": "2018-01-01"}, r"\d+ days older than need be; at most 30"),
        (
            "spread",
            {"spread": Spread(folds=(0.9, 0.9), seeds=(0.9, 0.1))},
            "over 2 seeds the headline figure varies by",
        ),
        ("onnx_parity", {"onnx_max_abs_diff": 0.09}, r"9\.0e-02 from the original's .* at most 1\.0e-05"),
    ],
)
def test_each_failed_check_refuses_with_what_was_seen_and_what_is_asked_for(
    trees: TrainResult, features: Path, public_key: Path, name: str, change: dict[str, Any], words: str
) -> None:
    own = {name: value for name, value in change.items() if name in trees.__struct_fields__}
    figures = {name: value for name, value in change.items() if name not in own}
    changed = msgspec.structs.replace(trees.figures, **figures)
    verdict = judged(msgspec.structs.replace(trees, figures=changed, **own), features, public_key)
    assert not verdict.admitted
    assert [c.name for c in verdict.checks if c.passed is False] == [name]
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(*verdict.refusals)


def test_a_retrained_model_replaces_a_champion_whose_world_has_changed(
    trees: TrainResult, retrained: TrainResult, turned: Path, public_key: Path
) -> None:
    verdict = judged(retrained, turned, public_key, champion=trees)
    found = check(verdict, "champion")
    assert verdict.admitted
    assert found.observed > 0.3
    assert verdict.champion == trees.digest
    assert verdict.champion_figure is not None
    assert verdict.champion_figure < retrained.figures.ap.value - found.observed


def test_a_model_that_is_no_better_than_the_champion_is_refused(
    trees: TrainResult, features: Path, public_key: Path
) -> None:
    verdict = judged(trees, features, public_key, champion=trees)
    assert not verdict.admitted
    assert check(verdict, "champion").observed == 0
    assert verdict.champion_figure == pytest.approx(trees.figures.ap.value)
    assert verdict.refusals == (check(verdict, "champion").text,)
    assert "Refused" in verdict.refusals[0]


def test_where_nothing_can_be_learned_the_retrained_model_is_refused(
    home: Path, tmp_path: Path, trees: TrainResult, public_key: Path
) -> None:
    features = write_feature_table(tmp_path / "features", seed=2, hopeless=True)
    hopeless = train_candidate(example.spec(home, features, out=tmp_path / "bundles"))
    verdict = judged(hopeless, features, public_key, champion=trees)
    assert not verdict.admitted
    assert {"auc", "champion"} <= {c.name for c in verdict.checks if c.passed is False}


def test_a_verdict_survives_json(trees: TrainResult, features: Path, public_key: Path) -> None:
    verdict = judged(trees, features, public_key, champion=trees)
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict) == verdict


def test_a_champion_that_was_tampered_with_is_not_compared_with(
    trees: TrainResult, features: Path, public_key: Path, tmp_path: Path
) -> None:
    forged = msgspec.structs.replace(trees, bundle=tmp_path / "bundle")
    shutil.copytree(trees.bundle, forged.bundle)
    (forged.bundle / "model.onnx").write_bytes(b"")
    with pytest.raises(IntegrityError):
        judged(trees, features, public_key, champion=forged)


def test_what_another_training_has_replaced_is_not_judged(
    trees: TrainResult, retrained: TrainResult, features: Path, public_key: Path
) -> None:
    for name in ("bundle", "evaluation"):
        mixed = msgspec.structs.replace(trees, **{name: getattr(retrained, name)})
        with pytest.raises(BundleError, match="another training has replaced it"):
            judged(mixed, features, public_key)


def test_features_of_other_events_than_the_evaluations_are_refused(
    trees: TrainResult, features: Path, public_key: Path, tmp_path: Path
) -> None:
    shutil.copytree(features, tmp_path / "features")
    rewrite(tmp_path / "features", event=[f"x{i}" for i in range(3_200)])
    with pytest.raises(InputError, match="events of the evaluation are not in it"):
        judged(trees, tmp_path / "features", public_key, champion=trees)
