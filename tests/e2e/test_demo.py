"""The loop closes: a change is noticed, a retrained model takes over if it is better, and only then."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from mlops.deployment import read_deployment
from mlops.records import read_decisions, read_labels
from mlops.settings import Settings
from pipelines.demo_results import Summary
from pipelines.lifecycle import Release
from tests.e2e.demo import run_demo
from tests.e2e.trees_alone import TREES_ALONE

pytestmark = pytest.mark.timeout(600)


class Run(msgspec.Struct, frozen=True):
    home: Path
    summary: Summary
    page: str


def _run(out: Path, env: Mapping[str, str] | None = None, **knobs: object) -> Run:
    summary = run_demo(out, knobs=knobs, env=env)
    return Run(out, summary, (out / "index.html").read_text())


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The demo as it is: a change that a retrained model can learn."""
    return _run(tmp_path_factory.mktemp("changed") / "demo")


@pytest.fixture(scope="module")
def hopeless(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A change that nobody can learn, new frauds without any signal, where the champion's own kind competes."""
    out = tmp_path_factory.mktemp("hopeless") / "demo"
    return _run(out, TREES_ALONE, change="unlearnable", customers=600)


def test_a_learnable_change_costs_precision_until_a_retrained_model_takes_over(changed: Run) -> None:
    s = changed.summary
    assert s.ap_before_shift is not None and s.ap_after_shift is not None and s.ap_after_retrain is not None
    assert s.ap_after_shift < s.ap_before_shift - 0.1
    assert s.ap_after_retrain > s.ap_after_shift + 0.1
    assert s.retrained and s.champion_after.version != s.champion_before.version


def test_each_framework_has_a_candidate(changed: Run) -> None:
    assert {c.framework for c in changed.summary.candidates} == {"scikit-learn", "pytorch", "tensorflow"}


def test_drift_is_found_in_the_amounts_and_none_in_the_quiet_week(changed: Run) -> None:
    assert changed.summary.drift_detected
    assert "amount" in changed.summary.drifted_features
    quiet, later, *_ = sorted((changed.home / "monitoring").glob("*/result.json"))
    assert [msgspec.json.decode(p.read_bytes())["drift"]["drifted"] for p in (quiet, later)] == [False, True]


def test_served_features_are_those_of_spark_to_the_last_bit(changed: Run) -> None:
    assert changed.summary.feature_parity_max_abs_diff == 0
    assert changed.summary.onnx_parity_max_abs_diff < 1e-5


def test_every_request_is_answered_also_while_the_model_is_swapped(changed: Run) -> None:
    s = changed.summary
    assert s.requests_failed == 0
    versions = [d.version for d in read_decisions(changed.home / "decisions")]
    assert versions == sorted(versions) and set(versions) == {
        s.champion_before.version,
        s.champion_after.version,
    }


def test_a_thousand_events_or_more_are_sent_one_by_one(changed: Run) -> None:
    events = sum(1 for _ in read_decisions(changed.home / "decisions"))
    assert changed.summary.requests_sent >= 1000 + (events - 1000) / 100


def test_each_replayed_event_is_in_the_decision_log_once(changed: Run) -> None:
    decided = [d.event_id for d in read_decisions(changed.home / "decisions")]
    labelled = {label.event_id for label in read_labels(changed.home / "decisions")}
    assert len(decided) == len(set(decided))
    assert labelled == set(decided)


def test_rows_that_validation_refused_are_counted(changed: Run) -> None:
    assert changed.summary.events_quarantined > 0


def test_the_pointer_names_the_champion_and_the_request_is_closed(changed: Run) -> None:
    deployment = read_deployment(Settings(home=changed.home).pointer)
    assert deployment is not None and deployment.champion.version == changed.summary.champion_after.version
    assert not (changed.home / "monitoring" / "retrain-request.json").exists()


@pytest.mark.system
def test_a_change_that_cannot_be_learned_leaves_the_old_model_serving(hopeless: Run) -> None:
    s = hopeless.summary
    assert s.ap_before_shift is not None and s.ap_after_shift is not None
    assert s.ap_after_shift < s.ap_before_shift - 0.1
    assert not s.retrained and s.champion_after == s.champion_before
    assert {d.version for d in read_decisions(hopeless.home / "decisions")} == {s.champion_before.version}


@pytest.mark.system
def test_the_refusal_says_why(hopeless: Run) -> None:
    release = msgspec.json.decode((hopeless.home / "release.json").read_bytes(), type=Release)
    assert release.version is None
    for verdict in release.verdicts.values():
        assert any("against the champion's" in sentence for sentence in verdict.refusals)
    assert "refused" in hopeless.page
