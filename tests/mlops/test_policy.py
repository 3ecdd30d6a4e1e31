"""A policy is read whole, and every number in it has a range."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.errors import ConfigError
from mlops.policy import Gate, Policy, RandomSplit, Split


def read(path: Path, text: str) -> Policy:
    path.write_text(text)
    return Policy.from_yaml(path)


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    policy = read(
        tmp_path / "policy.yaml", "split: {by: time, train_days: 3}\ngate: {champion_margin: -0.01}"
    )
    assert policy == Policy(split=Split(train_days=3), gate=Gate(champion_margin=-0.01))
    assert policy.split.days == 17


def test_events_can_be_split_at_random(tmp_path: Path) -> None:
    shares = "{by: random, train: 0.5, validation: 0, test: 0.5, seed: 3}"
    policy = read(tmp_path / "policy.yaml", f"split: {shares}")
    assert policy.split == RandomSplit(train=0.5, validation=0, test=0.5, seed=3)


@pytest.mark.parametrize("shares", ["{by: random, train: 0.9}", "{by: random, train: 0.8, test: 0}"])
def test_shares_that_are_not_a_whole_are_refused(tmp_path: Path, shares: str) -> None:
    with pytest.raises(ConfigError, match="are not a whole"):
        read(tmp_path / "policy.yaml", f"split: {shares}")


def test_reviews_a_day_are_limited_only_where_there_are_days(tmp_path: Path) -> None:
    costs = "costs: {review: 1, capacity: 20}"
    assert read(tmp_path / "policy.yaml", costs).costs.capacity == 20
    with pytest.raises(ConfigError, match="a random split knows no days"):
        read(tmp_path / "policy.yaml", f"{costs}\nsplit: {{by: random}}")


def test_the_archive_is_not_forgotten_before_what_it_is_made_of(tmp_path: Path) -> None:
    log = read(
        tmp_path / "policy.yaml", "decisions: {keep_raw_days: 5, keep_days: 5, hash: [card]}"
    ).decisions
    assert (log.keep_raw_days, log.keep_days, log.hash) == (5, 5, ("card",))
    with pytest.raises(ConfigError, match="the archive is kept 4 days"):
        read(tmp_path / "policy.yaml", "decisions: {keep_raw_days: 5, keep_days: 4}")


@pytest.mark.parametrize(
    "wrong",
    [
        "decisions: {keep_raw_days: 0}",
        "split: {by: time, train_days: 0}",
        "split: {by: time, delay_days: -1}",
        "split: {by: time, test_days: -3}",
        "gate: {min_test_positives: 0}",
        "costs: {capacity: 0}",
        "gate: {min_auc: 70}",
        "gate: {baseline_margin: 2}",
        "gate: {champion_margin: -3}",
        "gate: {confidence: 7}",
        "gate: {confidence: 1}",
        "gate: {bootstrap: 0}",
        "gate: {parity_tolerance: .inf}",
        "gate: {parity_rows: 0}",
        "costs: {review: -1}",
        "costs: {false_decline: .nan}",
        "costs: {chargeback: .inf}",
        "drift: {threshold: -0.1}",
        "drift: {share: 20}",
        "drift: {share: 0}",
        "performance: {min_drop: -0.1}",
        "performance: {confidence: 0}",
        "performance: {bootstrap: 0}",
        "performance: {min_positives: 0}",
        "top_k: 0",
    ],
)
def test_a_number_out_of_range_is_named(tmp_path: Path, wrong: str) -> None:
    field = wrong.rpartition(":")[0].rpartition(" ")[2].lstrip("{")
    with pytest.raises(ConfigError, match=rf"policy\.yaml: Expected .*[<>]=? .*{field}"):
        read(tmp_path / "policy.yaml", wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [("gates: {}", "unknown field `gates`"), ("top_k: many", "Expected `int`"), ("top_k: [", "policy.yaml")],
)
def test_what_does_not_fit_is_told_in_a_line(tmp_path: Path, wrong: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read(tmp_path / "policy.yaml", wrong)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"policy\.yaml: no such file"):
        Policy.from_yaml(tmp_path / "policy.yaml")
