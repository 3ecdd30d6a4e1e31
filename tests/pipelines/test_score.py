"""`mlops score` gives what a server answers to the same events, and writes all of it or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper
from pyspark.sql import SparkSession

from mlops.bundle import Decisions, Golden, Schema, write_bundle
from mlops.contract import load_use_case
from mlops.errors import ConfigError, InputError, IntegrityError
from mlops.features import FeatureSet
from mlops.model import Model
from mlops.settings import Settings
from pipelines import lifecycle
from pipelines.backfill import backfill
from pipelines.cli import main
from pipelines.export import export_source
from pipelines.replay import Recording
from pipelines.score import score
from tests.serving.example import World
from usecases.fraud import simulator
from usecases.fraud.world import World as Payments

NUMBERS = ("transaction_id", "customer_id", "terminal_id")


def trees(n_features: int, count: int = 40) -> bytes:
    """A model of trees with two leaves, whose sum a sigmoid turns into a score."""
    rng = np.random.default_rng(0)
    nodes = np.tile([0, 1, 2], count)
    inner = nodes == 0
    graph = helper.make_graph(
        [
            helper.make_node(
                "TreeEnsembleRegressor",
                ["features"],
                ["sums"],
                domain="ai.onnx.ml",
                n_targets=1,
                nodes_treeids=np.repeat(np.arange(count), 3).tolist(),
                nodes_nodeids=nodes.tolist(),
                nodes_featureids=np.where(inner, rng.integers(0, n_features, 3 * count), 0).tolist(),
                nodes_values=np.where(inner, rng.lognormal(0, 2, 3 * count), 0).tolist(),
                nodes_modes=["BRANCH_LEQ" if one else "LEAF" for one in inner],
                nodes_truenodeids=np.where(inner, 1, 0).tolist(),
                nodes_falsenodeids=np.where(inner, 2, 0).tolist(),
                target_treeids=np.repeat(np.arange(count), 2).tolist(),
                target_nodeids=np.tile([1, 2], count).tolist(),
                target_ids=[0] * (2 * count),
                target_weights=rng.normal(0, 0.3, 2 * count).tolist(),
            ),
            helper.make_node("Sigmoid", ["sums"], ["column"]),
            helper.make_node("Flatten", ["column"], ["flat"], axis=0),
            helper.make_node("Squeeze", ["flat"], ["score"]),
        ],
        "trees",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, n_features])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None])],
    )
    graph.node[3].input.append("axis")
    graph.initializer.append(helper.make_tensor("axis", TensorProto.INT64, [1], [0]))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def bundle(world: World, name: str, features: FeatureSet, schema: Schema) -> tuple[Path, str]:
    """A signed bundle of trees; its folder and digest."""
    model, path = trees(len(features.names)), world.home / "bundles" / name
    rows = np.random.default_rng(1).lognormal(0, 2, (8, len(features.names))).astype(np.float32)
    digest = write_bundle(
        path,
        keys=world.keys,
        model=model,
        features=features,
        schema=schema,
        decisions=Decisions(review_at=0.4, decline_at=0.7),
        golden=Golden(features=rows.tolist(), scores=Model(model)(rows).tolist()),
        reference=rows[:2].tolist(),
        card="",
        evaluation=b"{}",
        report="",
        manifest={
            "name": "trees",
            "candidate": name,
            "framework": "scikit-learn",
            "created_at": "2026-01-01T00:00:00+00:00",
            "run_id": "0",
        },
    )
    return path, digest


class Home:
    """A home with a champion, and events to be scored."""

    def __init__(self, folder: Path, usecase: str, numbers: tuple[str, ...] = ()) -> None:
        self.world = World(folder)
        self.settings = Settings(home=folder, usecase=usecase)
        self.use_case = use_case = load_use_case(usecase)
        self.schema = Schema(events=use_case.events, label=use_case.label, whole_number_ids=numbers)
        self.events = folder / "to-be-scored.parquet"
        self.path, self.digest = bundle(self.world, "first", use_case.features, self.schema)
        self.world.deploy("7", (self.path, self.digest))

    def online(self) -> list[dict[str, Any]]:
        """What a server answers to the events, one by one or in lists, in the order of (time, id)."""
        recording = Recording([self.events], self.use_case.events, self.use_case.label)
        rows = recording.requests(recording.table)
        answers = []
        with self.world.server() as server:
            for start in range(0, len(rows), 20):
                many = rows[start : start + 20]
                for body in (*many[:3], many[3:]):
                    reply = server.post("/v1/score?features=true", body)
                    assert reply.status == 200, reply.body
                    answers += reply.body if isinstance(body, list) else [reply.body]
        return answers


@pytest.fixture(scope="module")
def fraud(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Eleven days of payments in the event table and the store; the last of them and two more to be scored."""
    home = Home(tmp_path_factory.mktemp("fraud"), "usecases.fraud", NUMBERS)
    payments = simulator.simulate(Payments(customers=40, days=13, seed=4))
    days = payments["TX_TIME_DAYS"]
    archive = home.world.home / "archive.parquet"
    pq.write_table(payments.filter(pc.less(days, 11)), archive)
    lifecycle.validate_events(home.settings, archive)
    backfill([home.settings.events], home.settings.store_uri, home.use_case.features, home.schema)
    late = payments.filter(pc.greater_equal(days, 10))
    twice = pa.concat_tables([late.take(pa.array([5, 3, len(late) - 1])), late])
    pq.write_table(twice, home.events)
    return home


@pytest.fixture(scope="module")
def tumours(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A use case without times, keys and ids, and a hundred rows of its own public table."""
    home = Home(tmp_path_factory.mktemp("tumours"), "usecases.breast_cancer")
    export_source(home.settings, home.world.home / "raw")
    table = pq.read_table(home.world.home / "raw" / "tumours.parquet")
    pq.write_table(table.slice(0, 100), home.events)
    return home


@pytest.fixture(scope="module", params=["fraud", "tumours"])
def scored(request: pytest.FixtureRequest) -> Iterator[tuple[Home, pa.Table, dict[str, Any]]]:
    """A home, the scores that the command wrote there, and what it printed."""
    home: Home = request.getfixturevalue(request.param)
    out = home.world.home / "scores"
    result = score(home.settings, home.events, out, with_features=True)
    yield home, pq.read_table(out), json.loads((out / "_scores.json").read_text()) | {"same": result}


def test_each_event_has_the_features_score_and_decision_that_a_server_answers(
    scored: tuple[Home, pa.Table, dict[str, Any]],
) -> None:
    home, table, _ = scored
    offline = {row["event_id"]: row for row in table.to_pylist()}
    answers = home.online()
    assert {answer["event_id"] for answer in answers} == set(offline)
    assert len(offline) == len(table) > 90
    for answer in answers:
        mine = offline[answer["event_id"]]
        assert answer["features"] == mine["features"]  # to the last bit
        names = ("score", "decision", "model", "version")
        assert [answer[name] for name in names] == [mine[name] for name in names]
    assert len({answer["score"] for answer in answers}) > 10


def test_what_was_done_is_said_and_stands_beside_the_scores(
    scored: tuple[Home, pa.Table, dict[str, Any]],
) -> None:
    home, table, told = scored
    assert (told["rows_in"], told["events"]) == (pq.read_metadata(home.events).num_rows, len(table))
    assert sum(told["decisions"].values()) == len(table)
    assert (told["model"], told["version"], told["bundle"]) == ("trees", "7", home.digest)
    assert told["same"].events == told["events"]
    if home.use_case.events.time:
        assert told["rows_in"] == told["events"] + 3
        times = table["event_time"].to_pylist()
        assert times == sorted(times)


def test_another_bundle_is_one_without_a_version_and_replaces_earlier_scores(
    tumours: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = FeatureSet(tumours.use_case.features.features[:3])
    other, digest = bundle(tumours.world, "other", fewer, tumours.schema)
    words = ["--home", tumours.world.home, "--usecase", tumours.settings.usecase, "score"]
    words += ["--events", tumours.events, "--out", tmp_path / "out", "--bundle", other, "--json"]
    for _ in range(2):
        main([str(word) for word in words])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["version"], told["bundle"]) == (None, digest)
    table = pq.read_table(tmp_path / "out")
    assert table.column_names == ["event_id", "score", "decision", "model", "version"]
    assert (len(table), table["version"].null_count) == (100, 100)


def test_a_bad_row_is_one_error_with_an_example_and_the_scores_before_stay(
    fraud: Home, tmp_path: Path
) -> None:
    table = pq.read_table(fraud.events).slice(0, 20)
    amounts = table["TX_AMOUNT"].to_pylist()
    bad = table.set_column(
        table.column_names.index("TX_AMOUNT"), "TX_AMOUNT", pa.array([*amounts[:-1], -12.5], pa.float64())
    )
    pq.write_table(bad, tmp_path / "bad.parquet")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "_scores.json").write_text("{}")
    with pytest.raises(
        InputError, match=r"1 of 20 rows cannot be scored; most often amount: below 0, .*-12.5"
    ):
        score(fraud.settings, tmp_path / "bad.parquet", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["_scores.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.parquet", "out"]


def test_another_event_under_a_known_id_is_refused(fraud: Home, tmp_path: Path) -> None:
    table = pq.read_table(fraud.events).slice(3, 1)
    other = table.set_column(
        table.column_names.index("CUSTOMER_ID"), "CUSTOMER_ID", pc.add(table["CUSTOMER_ID"], 1)
    )
    pq.write_table(other, tmp_path / "other.parquet")
    with pytest.raises(InputError, match="transaction_id: used before for another event"):
        score(fraud.settings, tmp_path / "other.parquet", tmp_path / "out")


@pytest.mark.parametrize(
    ("break_it", "error", "said"),
    [
        ("no champion", ConfigError, "no champion to score with"),
        ("other files", ConfigError, "holds something else"),
        ("no history", InputError, "features look back on it; run mlops validate"),
        ("text ids", InputError, "the model's ids were of another kind"),
        ("no column", InputError, "no column TX_AMOUNT"),
        ("no file", InputError, "no such file"),
        ("tampered", IntegrityError, "model.onnx"),
    ],
)
def test_what_cannot_be_scored_is_one_clear_error(
    fraud: Home, tmp_path: Path, break_it: str, error: type[Exception], said: str
) -> None:
    settings, events, out = fraud.settings, fraud.events, tmp_path / "out"
    named: Path | None = None
    if break_it == "no champion":
        settings = Settings(home=tmp_path / "nothing")
    if break_it == "other files":
        out.mkdir()
        (out / "thesis.txt").touch()
    if break_it == "no history":
        settings = Settings(home=fraud.settings.home, events_uri=str(tmp_path / "nothing"))
    if break_it == "text ids":
        of_text = Schema(events=fraud.use_case.events, label=fraud.use_case.label)
        named, _ = bundle(fraud.world, "of text", fraud.use_case.features, of_text)
    if break_it == "no column":
        events = tmp_path / "fewer.parquet"
        pq.write_table(pq.read_table(fraud.events).drop_columns(["TX_AMOUNT"]), events)
    if break_it == "no file":
        events = tmp_path / "nothing.parquet"
    if break_it == "tampered":
        named, _ = bundle(fraud.world, "tampered", fraud.use_case.features, fraud.schema)
        (named / "model.onnx").write_bytes((named / "model.onnx").read_bytes() + b"\0")
    with pytest.raises(error, match=said):
        score(settings, events, out, bundle=named)
    assert not any(path.name.startswith(".tmp") for path in tmp_path.iterdir())
    assert break_it == "other files" or not out.exists()
