"""A run's candidates go through the gate together; what stands for promotion afterwards is of this run, or nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlops.settings import Settings
from pipelines import lifecycle
from tests.training import example
from training import registry
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
