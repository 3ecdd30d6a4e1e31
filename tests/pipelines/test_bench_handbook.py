"""The published tables on a small world, and what may be looked at when something is chosen."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from mlops.contract import Candidate
from mlops.errors import ConfigError
from mlops.search import Int
from mlops.settings import Settings
from pipelines.bench_handbook import HandbookBench, bench_handbook
from pipelines.handbook_ceiling import ceiling_figures
from pipelines.handbook_tables import Entrant, Row, entrants, table_rows
from tests.training import example
from training.handbook import Dates
from training.published import PUBLISHED
from usecases.fraud.features import PUBLISHED as PUBLISHED_FEATURES
from usecases.fraud.simulator import write_days
from usecases.fraud.world import World

CASE = "tests.pipelines.handbook_case"
DAYS = Dates(published=False, single="2018-05-22", test=("2018-05-22",), validation=("2018-05-08",))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> tuple[Path, HandbookBench]:
    """The home of a bench on a small world, and its result."""
    folder = tmp_path_factory.mktemp("handbook")
    write_days(World(seed=3, customers=600, days=40), folder / "world")
    settings = Settings(
        home=folder / "other", usecase=CASE, spark_master="local[2]", events_uri=str(folder / "elsewhere")
    )
    result = bench_handbook(
        settings, folder / "world", folder / "out", effort="quick", home=folder / "home", say=lambda _: None
    )
    return folder, result


def test_the_result_is_written_with_all_that_was_asked_for(measured: tuple[Path, HandbookBench]) -> None:
    folder, result = measured
    written = (folder / "out" / "handbook.json").read_bytes()
    assert msgspec.json.decode(written, type=HandbookBench) == result
    assert [path.name for path in (folder / "out").iterdir()] == ["handbook.json"]
    assert not (folder / "elsewhere").exists() and not (folder / "other").exists()
    plain = msgspec.json.decode(written)
    assert set(plain["best"]) == {"model", "auc", "ap", "cp100"}
    assert set(plain["ceiling"]) == {"auc", "ap", "cp100"}
    needed = {"table", "model", "features", "auc", "ap", "cp100", "published"}
    assert all(needed <= set(row) for row in plain["rows"])
    assert result.seconds > result.winner_train_s > 0


def test_both_tables_have_the_published_models_on_both_sets_of_features_and_the_candidates(
    measured: tuple[Path, HandbookBench],
) -> None:
    _, result = measured
    names = ("logistic-regression", "decision-tree")
    rows = {(row.table, row.model, row.features): row for row in result.rows}
    wanted = [(name, features) for features in ("published", "ours") for name in names]
    assert list(rows) == [(t, *w) for t in "AB" for w in [*wanted, ("small-trees", "ours")]]
    for (table, name, _), row in rows.items():
        assert row.published == PUBLISHED[table].get(name)
        assert row.auc > 0.6 and row.ap > 0.1 and 0 < row.cp100 < 1
    best = rows["B", "small-trees", "ours"]
    assert result.best.model == "small-trees"
    assert (result.best.auc, result.best.ap, result.best.cp100) == (best.auc, best.ap, best.cp100)


def test_days_that_the_data_lack_are_counted_back_from_their_end(
    measured: tuple[Path, HandbookBench],
) -> None:
    dates = measured[1].dates
    assert not dates.published
    assert dates.test == ("2018-04-20",)  # the 40th day is 10 May
    assert dates.validation == ("2018-04-06",)


def test_without_scenarios_there_is_no_ceiling(measured: tuple[Path, HandbookBench]) -> None:
    folder, result = measured
    settings = Settings(home=folder / "home", usecase=CASE)
    again = ceiling_figures(settings, [result.dates.test])
    assert again is not None and again[0] == result.ceiling and again[0].ap > 0.4
    for file in settings.events.glob("day=*/*.parquet"):
        pq.write_table(pq.ParquetFile(file).read().drop_columns("scenario"), file)
    assert ceiling_figures(settings, [result.dates.test]) is None


def test_a_use_case_without_a_scorer_has_no_ceiling_and_one_without_published_features_no_tables(
    tmp_path: Path,
) -> None:
    settings = Settings(home=tmp_path, usecase="usecases.breast_cancer")
    assert ceiling_figures(settings, [DAYS.test]) is None
    with pytest.raises(ConfigError, match="no module"):
        bench_handbook(settings, tmp_path / "events", tmp_path / "out", say=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_a_published_model_that_is_a_candidate_enters_with_our_features_as_the_candidate() -> None:
    entered = entrants("usecases.fraud", "full")
    ours = [entrant.model.name for entrant in entered if entrant.features == "ours"]
    assert len(set(ours)) == len(ours)
    assert all(e.names == PUBLISHED_FEATURES.names for e in entered if e.features == "published")
    assert {e.model.name for e in entered if e.features == "published"} <= set(PUBLISHED["B"])


@pytest.fixture
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


def tree_rows(home: Path, pool: Executor, *, features: str = "ours", tuned: bool = False) -> list[Row]:
    tree = Candidate(
        name="tree",
        framework="scikit-learn",
        builder="training.handbook_models:decision_tree",
        params={"depth": 1},
        search={"depth": Int(1, 12)},
    )
    grid = None if tuned else tuple({"depth": depth} for depth in (1, 3, 12))
    entrant = Entrant(model=tree, features=features, names=("load", "machine_count_1d"), grid=grid)
    return table_rows(
        example.settings(home),
        [entrant],
        DAYS,
        "standard",
        pool=pool,
        database=home / "studies.db",
        say=lambda _: None,
    )


@pytest.mark.parametrize(("features", "tuned"), [("published", False), ("ours", False), ("ours", True)])
def test_what_is_chosen_does_not_depend_on_the_test_folds(
    tmp_path: Path, pool: Executor, features: str, tuned: bool
) -> None:
    rows = []
    for name in ("asis", "turned"):
        home = tmp_path / name
        example.write_feature_table(home / "features", days=35, per_day=60)
        if name == "turned":  # on the test days the labels are all wrong
            failed = pq.read_table(home / "features").sort_by("event")["failed"].to_numpy().copy()
            failed[28 * 60 :] = ~failed[28 * 60 :]
            example.rewrite(home / "features", failed=failed)
        rows.append(tree_rows(home, pool, features=features, tuned=tuned)[1])
    asis, turned = rows
    assert (asis.params, asis.validation) == (turned.params, turned.validation)
    assert asis.params["ap"] != {"depth": 1}
    assert asis.auc > 0.7 > 0.5 > turned.auc


def test_with_published_features_each_figure_has_its_own_best_parameters_and_with_ours_all_have_one(
    tmp_path: Path, pool: Executor
) -> None:
    example.write_feature_table(tmp_path / "features", days=35, per_day=60)
    single, four = tree_rows(tmp_path, pool, features="published")
    assert single.params["auc"] == {"depth": 1} and single.validation is None
    assert len({str(params) for params in four.params.values()}) > 1
    _, ours = tree_rows(tmp_path, pool, features="ours")
    assert list(ours.params.values()) == [four.params["ap"]] * 3
    assert ours.ap == four.ap and ours.validation == four.validation
