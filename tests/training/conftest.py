"""What several tests of training share, made once: a feature table before and after a change, and models of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY
from tests.training import example
from tests.training.registered import House, Models
from training import tracking
from training.results import TrainResult
from training.train import train_candidate


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that tests only read."""
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="session")
def features(home: Path) -> Path:
    """The feature table of a world at rest."""
    return example.write_feature_table(home / "features")


@pytest.fixture(scope="session")
def turned(home: Path) -> Path:
    """The feature table after what told a failure has turned into its opposite."""
    return example.write_feature_table(home / "turned", seed=1, turned=True)


@pytest.fixture(scope="session")
def trees(home: Path, features: Path) -> TrainResult:
    """A model of the world at rest."""
    return train_candidate(example.spec(home, features))


@pytest.fixture(scope="session")
def public_key(home: Path, trees: TrainResult) -> Path:
    """What verifies its bundle."""
    return home / "keys" / PUBLIC_KEY


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables without content; making them takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    tracking.client(example.settings(folder))
    return folder / "mlflow.db"


@pytest.fixture
def settings(tmp_path: Path, empty_database: Path) -> Settings:
    """A home of one test's own, with nothing in it but empty tables."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return example.settings(tmp_path)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Models to register."""
    return Models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def house(settings: Settings, models: Models) -> House:
    """A home whose registry is empty."""
    return House(settings, models)
