"""The same small data through every engine comes to the same features, figures and decisions."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlops.contract import load_use_case
from mlops.settings import Settings
from mlops.signing import PRIVATE_KEY
from mlops.storage import read_json
from mlops.tables import read_event_table, read_feature_table
from monitoring.results import MonitorResult
from pipelines import databricks, kubeflow_components, lifecycle, torchrun
from pipelines.conclusion import CONCLUSION, Conclusion
from pipelines.ports import free_port
from pipelines.prefect_tasks import TASKS
from pipelines.replay import Recording, replay
from pipelines.server import running_server
from tests.e2e.engines import ENGINES, Outcome, by_kubeflow, command, deliver, outcome
from tests.e2e.two_candidates import TWO_CANDIDATES
from training import registry

pytestmark = pytest.mark.timeout(1800)
DAY = date(2018, 5, 1)  # the one after the month
TO_COMPARE = [name for name in ENGINES if name != "command line"]


class Homes(Mapping[str, Path]):
    """The homes by engine; each engine runs when it is first asked for."""

    def __init__(self, folder: Path, events: Path) -> None:
        self._folder, self._events, self._done = folder, events, dict[str, Path]()

    def __getitem__(self, engine: str) -> Path:
        if engine not in self._done:
            home = self._folder / engine.replace(" ", "-")
            ran = ENGINES[engine](home, self._events)
            assert ran.returncode == 0, ran.stderr[-4000:]
            self._done[engine] = home
        return self._done[engine]

    def __iter__(self) -> Any:
        return iter(ENGINES)

    def __len__(self) -> int:
        return len(ENGINES)


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return deliver(tmp_path_factory.mktemp("delivered") / "events")


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory, delivered: tuple[Path, Path]) -> Homes:
    return Homes(tmp_path_factory.mktemp("homes"), delivered[0])


@pytest.fixture(scope="module")
def expected(homes: Homes) -> Outcome:
    return outcome(homes["command line"])


@pytest.mark.system
@pytest.mark.parametrize("engine", TO_COMPARE)
def test_features_figures_and_decisions_are_those_of_the_command_line(
    engine: str, homes: Homes, expected: Outcome
) -> None:
    found = outcome(homes[engine])
    assert found.events == expected.events
    assert found.features == expected.features
    assert found.figures == expected.figures
    assert found.checks == expected.checks
    assert (found.release, found.champion) == (expected.release, expected.champion)
    assert expected.champion is not None and len(expected.figures) == 2


@pytest.mark.system
def test_kubeflow_hands_on_typed_artifacts(homes: Homes) -> None:
    home = homes["kubeflow"]
    settings = Settings(home=home)
    (root,) = home.glob("kubeflow/mlops-lifecycle-*")
    table = read_feature_table(settings.features)
    metadata = _artifacts(root / "features")["table"]["metadata"]
    assert metadata == {
        "table": str(settings.features),
        "rows": table.rows,
        "fingerprint": table.fingerprint,
    }
    judged = json.loads((home / lifecycle.RELEASE).read_bytes())["verdicts"]
    for task in root.glob("for-loop-*-iteration-*/train"):
        kept = _artifacts(task)
        model = kept["model"]["metadata"]
        assert judged[model["candidate"]]["digest"] == model["digest"]
        assert (task / "report").read_text().startswith("<!doctype html>")
        figures = json.loads((task / "model" / "result.json").read_bytes())["figures"]
        assert kept["figures"]["metadata"]["ap"] == figures["ap"]["value"]
        rows = [row["row"] for row in kept["decided"]["metadata"]["confusionMatrix"]["rows"]]
        assert [sum(row) for row in rows] == [figures["events"] - figures["positives"], figures["positives"]]
    champion = _artifacts(root / "register")["model"]["metadata"]
    status = registry.status(settings)
    assert champion["version"] == status.champion
    assert status.deployment is not None and champion["digest"] == status.deployment.champion.digest
    assert (root / "register" / "model" / "model.onnx").is_file()
    concluded = read_json(home / CONCLUSION, Conclusion)
    assert (concluded.state, concluded.champion) == ("SUCCEEDED", champion["version"])
    assert concluded.validation is not None and concluded.validation.endswith("rows")


@pytest.mark.system
def test_kubeflow_run_again_trains_nothing_anew_deploys_nothing_and_monitors_what_was_served(
    homes: Homes, delivered: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, (month, day) = homes["kubeflow"], delivered
    for name, value in TWO_CANDIDATES.items():
        monkeypatch.setenv(name, value)
    settings, before = Settings.from_env(home=home), outcome(home)
    use_case = load_use_case(settings.usecase)
    with running_server(settings, port=free_port()) as url:
        sent = replay(Recording([day], use_case.events, use_case.label), url, first_day=DAY, last_day=DAY)
    assert sent.failed == 0 and sent.events > 500
    runs = registry.history(settings)
    aside = settings.bundles.rename(home / "aside")  # what the cache answers with lies in its artifacts
    key = (settings.keys / PRIVATE_KEY).rename(home / "key-aside")  # only training gets it

    ran = by_kubeflow(home, month, "monitor=true", "monitor_as_of=2018-05-02")

    assert ran.returncode == 0, ran.stderr[-4000:]
    assert not settings.bundles.exists()
    aside.rename(settings.bundles)
    key.rename(settings.keys / PRIVATE_KEY)
    assert len(list(home.glob("kubeflow/mlops-lifecycle-*/for-loop-*/judge"))) == 4
    assert len(list(home.glob("kubeflow/mlops-lifecycle-*/for-loop-*/train"))) == 2
    again = outcome(home)
    assert again.figures == before.figures and again.champion == before.champion
    assert again.release == (None, None)  # the champion is not better than itself
    assert registry.history(settings)[: len(runs)] == runs
    (result,) = settings.monitoring.glob("*/result.json")
    assert read_json(result, MonitorResult).performance.served == sent.events
    (page,) = home.glob("kubeflow/mlops-lifecycle-*/monitor/report")
    assert page.read_text().startswith("<!doctype html>")
    concluded = json.loads(ran.stdout)
    assert concluded["monitored"] == f"2018-04-25 to {DAY}"
    assert concluded["release"] == "the gate refused all 2 candidates"
    assert before.champion is not None
    lifecycle.fill_store(settings, before.champion[0])
    assert lifecycle.promote(settings, before.champion[0]).champion.version == before.champion[0]


@pytest.mark.system
def test_a_second_delivery_comes_to_the_same_by_each_engine(
    homes: Homes, delivered: tuple[Path, Path]
) -> None:
    """The tables are those of `mlops ingest` and `mlops features`, which train nothing."""
    _, day = delivered
    by_hand = homes["command line"]
    for words in (("ingest", "--events", day), ("features",)):
        assert command(by_hand, *words).returncode == 0
    settings = Settings(home=by_hand)
    tables = [
        read_table(table).fingerprint
        for read_table, table in (
            (read_event_table, settings.events),
            (read_feature_table, settings.features),
        )
    ]
    before, found = outcome(homes["prefect"]), {}
    for engine in TO_COMPARE:
        ran = ENGINES[engine](homes[engine], day)
        assert ran.returncode == 0, ran.stderr[-4000:]
        found[engine] = outcome(homes[engine])
        assert [found[engine].events, found[engine].features] == tables
    one, other = found.values()
    assert before.events != one.events and before.figures != one.figures
    assert (one.figures, one.checks, one.release[0]) == (other.figures, other.checks, other.release[0])


def test_the_command_line_runs_the_steps_of_the_lifecycle_themselves() -> None:
    tree = ast.parse(inspect.getsource(lifecycle.run))
    steps = [
        node.args[1].id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "engine.run"
        and isinstance(node.args[1], ast.Name)
    ]
    assert steps == ["validate_events", "compute_features", "train", "release", "fill_store", "promote"]
    assert set(steps) <= set(lifecycle.__all__)


def test_kubeflows_components_run_the_steps_of_the_lifecycle_themselves() -> None:
    """What else a component may do: tests/pipelines/test_kubeflow.py."""
    names = [name for name in kubeflow_components.__all__ if name != "IMAGE"]
    steps = [
        node.attr
        for name in names
        for node in ast.walk(ast.parse(inspect.getsource(getattr(kubeflow_components, name).python_func)))
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("lifecycle.")
    ]
    assert len(steps) >= len(names) and set(steps) <= set(lifecycle.__all__)


def test_prefects_tasks_are_the_steps_of_the_lifecycle_themselves() -> None:
    """What else there is of tasks: tests/pipelines/test_prefect.py."""
    steps = {name: task.fn for name, task in TASKS.items() if name in lifecycle.__all__}
    assert steps == {name: getattr(lifecycle, name) for name in steps}
    assert steps.keys() >= {
        "ingest",
        "update_features",
        "train_one",
        "judge",
        "register",
        "fill_store",
        "promote",
    }


@pytest.mark.parametrize("engine", [databricks, torchrun], ids=["Databricks' jobs", "a TrainJob"])
def test_what_other_engines_run_are_the_steps_of_the_lifecycle_themselves(engine: ModuleType) -> None:
    """Spark's cluster runs `mlops features`, the command."""
    calls = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(engine)))
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("lifecycle.")
    ]
    steps = {node.attr for node in calls}
    assert steps <= set(lifecycle.__all__)
    assert steps >= {"plan", "train_one", "judge", "register"}


def _artifacts(task: Path) -> dict[str, Any]:
    """What a task put out, by name."""
    written = json.loads((task / "executor_output.json").read_bytes())["artifacts"]
    return {name: each["artifacts"][0] for name, each in written.items()}
