"""What the cache answers in place of a training, as Kubeflow's local runner keeps it.

Kubeflow reads annotations when a pipeline is made, and so are no strings.
"""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kfp import dsl, local

from mlops.contract import load_use_case
from mlops.settings import Settings
from mlops.tables import EventTable, FeatureTable, write_table_meta
from pipelines import kubeflow_components as components
from pipelines.environment import in_environment
from pipelines.training_plan import TrainingPlan, plan

FRAUD = load_use_case("usecases.fraud")
FIRST = datetime(2018, 4, 1, 0, 30, tzinfo=UTC)
CANDIDATE = "watchful-trees"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Those of a home with a feature table of forty days, an event an hour."""
    settings = Settings(home=tmp_path / "home")
    hours = np.arange(40 * 24)
    rng = np.random.default_rng(0)
    label = rng.random(len(hours)) < 0.2
    columns = {
        "transaction_id": hours,
        "event_time": pa.array([FIRST + timedelta(hours=int(n)) for n in hours], pa.timestamp("us", "UTC")),
        "customer_id": hours,
        "terminal_id": hours % 7,
        "amount": hours / 4,
        "is_fraud": label,
    }
    table = pa.table(columns | {name: rng.random(len(hours)) + label for name in FRAUD.features.names[1:]})
    events = EventTable(
        rows=len(hours),
        whole_number_ids=("transaction_id", "customer_id", "terminal_id"),
        first_event=FIRST.isoformat(),
        last_event=(FIRST + timedelta(hours=int(hours[-1]))).isoformat(),
        fingerprint="events",
    )
    features = FeatureTable(
        rows=len(hours),
        unlabelled=0,
        features=FRAUD.features,
        events=("events",),
        whole_number_ids=events.whole_number_ids,
        fingerprint="features",
    )
    for folder, meta in ((settings.events, events), (settings.features, features)):
        folder.mkdir(parents=True)
        pq.write_table(table, folder / "part-0.parquet")
        write_table_meta(folder, meta)
    return settings


def _trained(settings: Settings, root: Path, planned: TrainingPlan, key: str) -> tuple[str, int]:
    """The run of MLflow of the newest training, once it was asked for under this key, and how many there were."""

    @dsl.pipeline(name="trainings")
    def alone(candidate: str, first_day: str, fingerprint: str, key: str, effort: str, seed: int):  # type: ignore[no-untyped-def]
        components.train(
            candidate=candidate,
            first_day=first_day,
            fingerprint=fingerprint,
            key=key,
            effort=effort,
            seed=seed,
        ).set_caching_options(True)

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(root), enable_caching=True)
    with in_environment(settings):
        alone(
            candidate=CANDIDATE,
            first_day=planned.first_day,
            fingerprint=planned.fingerprint,
            key=key,
            effort="quick",
            seed=0,
        )
    results = sorted(root.glob("trainings-*/train/model/result.json"), key=lambda path: path.stat().st_mtime)
    return str(json.loads(results[-1].read_bytes())["run_id"]), len(results)


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore:You may be att:RuntimeWarning")  # that images are not looked at here
def test_a_training_is_answered_from_before_only_if_nothing_differs_that_it_follows_from(
    settings: Settings, tmp_path: Path
) -> None:
    root = tmp_path / "kubeflow"
    planned = plan(settings, train_from=date(2018, 4, 10), only=[CANDIDATE])
    first = _trained(settings, root, planned, planned.keys[CANDIDATE])
    assert _trained(settings, root, planned, planned.keys[CANDIDATE]) == first == (first[0], 1)
    other = plan(settings, train_from=date(2018, 4, 10), only=[CANDIDATE], seed=1)
    assert other.keys != planned.keys
    anew = _trained(settings, root, planned, other.keys[CANDIDATE])
    assert anew[1] == 2 and anew[0] != first[0]
