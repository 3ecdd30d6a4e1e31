"""Groups of features follow from the definitions, and what one is worth is what a model without it loses."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from mlops.features import Calendar, Count, FeatureSet, Last, Rate, Ratio, Rolling, Value
from tests.training.example import FIRST_DAY, USE_CASE
from training.ablation import ablate, feature_groups
from training.dataset import Dataset, load_dataset
from training.split import Windows, split_windows
from training.trainers import Place

QUIET = Place(log=lambda *_: None)


def test_groups_are_own_values_calendar_and_what_is_looked_up_by_each_key() -> None:
    features = FeatureSet(
        (
            Value(column="amount"),
            Calendar(part="night"),
            Rolling(key="card", agg=Count(), windows=("1d", "7d")),
            Rolling(key="shop", agg=Count(), windows=("1d",)),
            Rolling(key="shop", agg=Rate(column="is_fraud"), windows=("7d",), delay="7d"),
            Ratio(name="busy", numerator="card_count_1d", denominator="card_count_7d"),
            Ratio(name="bulk", numerator="amount", denominator="shop_count_1d"),
            Last(key="card", fields=("amount",), n=2),
        )
    )
    groups = feature_groups(features, "is_fraud")
    assert list(groups) == [
        "own values",
        "calendar",
        "history by card",
        "history by shop",
        "labels by shop",
        "sequence by card",
    ]
    assert groups["history by card"] == ("card_count_1d", "card_count_7d", "busy")
    assert groups["history by shop"] == ("shop_count_1d", "bulk")
    assert [name for names in groups.values() for name in names] != features.names
    assert {name for names in groups.values() for name in names} == set(features.names)


@pytest.fixture
def data(features: Path) -> Dataset:
    return load_dataset(features, USE_CASE, first_day=FIRST_DAY, days=8)


@pytest.fixture
def windows(data: Dataset) -> Windows:
    return split_windows(data, USE_CASE.policy.split)


def test_without_what_tells_a_failure_the_model_is_worth_less(data: Dataset, windows: Windows) -> None:
    candidate = USE_CASE.candidates[0]
    load = data.features[:, 0]
    scores = (load / load.max()).astype(np.float32)  # as good as the features are
    found = {
        one.group: one for one in ablate(USE_CASE, candidate, data, windows, scores, seed=0, place=QUIET)
    }
    assert list(found) == ["own values", "calendar", "history by machine"]
    assert found["own values"].features == ("load",)
    assert found["own values"].drop.low > 0.1
    assert found["calendar"].drop.value < found["own values"].drop.value


def test_a_model_that_knows_a_feature_by_its_place_is_fitted_without_any_group(
    data: Dataset, windows: Windows
) -> None:
    last = data.features.shape[1] - 1
    placed = msgspec.structs.replace(
        USE_CASE.candidates[0],
        builder="usecases.fraud.models:watchful_trees",
        params={"trees": 5, "silence": last},
    )
    scores = data.features[:, 0]
    found = ablate(USE_CASE, placed, data, windows, scores, seed=0, place=QUIET)
    assert [one.group for one in found] == ["own values", "calendar", "history by machine"]


def test_with_one_group_there_is_nothing_to_leave_out(data: Dataset, windows: Windows) -> None:
    only = msgspec.structs.replace(
        USE_CASE.candidates[0], features=FeatureSet(USE_CASE.features.features[:1])
    )
    scores = np.zeros(len(data), np.float32)
    assert ablate(USE_CASE, only, data, windows, scores, seed=0, place=QUIET) == ()
