"""A run's candidates go through the gate together; what stands for promotion afterwards is of this run, or nothing."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import msgspec
import pytest

from mlops.errors import InputError
from mlops.settings import Settings
from mlops.tables import read_feature_table, write_table_meta
from pipelines import lifecycle
from tests.training import example
from training import dataset, registry
from training.dataset import Span, load_dataset, span_of
from training.results import TrainResult
from training.train import train_candidate


def release(settings: Settings, features: Path, *results: TrainResult) -> lifecycle.Release:
    with ThreadPoolExecutor(1) as pool:
        return lifecycle.release(settings, results, pool=pool, table=features)


def train(settings: Settings, features: Path, seed: int) -> TrainResult:
    spec = example.spec(settings.home, features, seed=seed, out=settings.bundles / str(seed))
    return train_candidate(spec)


def test_the_best_admitted_one_challenges_until_a_run_admits_none(settings: Settings, features: Path) -> None:
    worse, better = sorted(
        (train(settings, features, seed) for seed in range(2)), key=lambda r: r.figures.rank
    )
    released = release(settings, features, better, worse)
    assert released.version == registry.status(settings).challenger == "2"
    registry.promote(settings, "1")
    assert registry.status(settings).challenger == "2"

    again = release(settings, features, worse)  # no better than itself, which answers
    assert again.version is None
    assert again.verdicts["trees"].champion == worse.digest
    assert (registry.status(settings).champion, registry.status(settings).challenger) == ("1", None)


def test_a_table_that_another_wrote_meanwhile_is_neither_trained_nor_judged_on(
    settings: Settings, features: Path, tmp_path: Path
) -> None:
    table = tmp_path / "features"
    shutil.copytree(features, table)
    planned = read_feature_table(table)
    trained = train(settings, table, 0)
    assert trained.data_fingerprint == planned.fingerprint
    assert lifecycle.judge(settings, trained, table=table).candidate == "trees"

    write_table_meta(table, msgspec.structs.replace(planned, fingerprint="another"))
    with pytest.raises(InputError, match="no longer, the table that the candidate was trained and tested on"):
        lifecycle.judge(settings, trained, table=table)
    day = date.fromisoformat(example.FIRST_DAY)
    with pytest.raises(InputError, match="no longer the table that was to be trained on"):
        lifecycle.train_one(settings, "trees", day, table=table, fingerprint=planned.fingerprint)


def test_a_table_that_changes_while_it_is_read_is_not_taken_for_the_one_before(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "features"
    shutil.copytree(features, table)
    held = read_feature_table(table)

    def meanwhile(*_: object) -> Span:
        write_table_meta(table, msgspec.structs.replace(held, fingerprint="another"))
        return span_of(*_)  # type: ignore[arg-type]

    monkeypatch.setattr(dataset, "span_of", meanwhile)
    with pytest.raises(InputError, match="has changed while it was read; begin again"):
        load_dataset(table, example.USE_CASE, first_day=example.FIRST_DAY, days=8)
