"""File systems without hard links, as volumes of Databricks and other FUSE mounts are, hold tables as well."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from mlops.tables import read_feature_table
from pipelines.features import compute_features
from pipelines.incremental import update_features
from pipelines.links import link_or_copy
from pipelines.staged import current, delivered
from tests.pipelines.histories import FEATURES, LABEL, SCHEMA, histories, write_events


@pytest.fixture(params=[errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO, errno.EPERM], ids=errno.errorcode.get)
def no_links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """`link` as FUSE answers it where the file system has none, and as others do."""

    def link(*_: object, **__: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(os, "link", link)


def test_one_file_has_two_names_where_that_is_possible(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").samefile(tmp_path / "b")


def test_elsewhere_it_is_copied(no_links: None, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "1" and not (tmp_path / "a").samefile(tmp_path / "b")


def test_a_file_of_that_name_is_not_written_to(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    with pytest.raises(FileExistsError):
        link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "b"


@pytest.mark.parametrize("no_links", [errno.ENOSYS], indirect=True)
def test_the_second_day_s_features_are_those_that_would_be_computed(
    spark: SparkSession, tmp_path: Path, no_links: None
) -> None:
    events = sorted(
        (event for one in histories(20, text_ids=False, seed=5) for event in one), key=lambda e: e["at"]
    )
    days = [event["at"].date() for event in events]
    target = tmp_path / "features"
    first = write_events(
        tmp_path / "first", [e for e, day in zip(events, days, strict=True) if day < days[-1]]
    )
    compute_features(spark, [first], target, FEATURES, SCHEMA, LABEL)

    everything = write_events(tmp_path / "everything", events)
    result = update_features(everything, target, FEATURES, SCHEMA, LABEL)
    assert result.rows_written < len(events)
    compute_features(spark, [everything], tmp_path / "all", FEATURES, SCHEMA, LABEL)
    assert read_feature_table(target) == read_feature_table(tmp_path / "all")


@pytest.mark.parametrize("no_links", [errno.ENOSYS], indirect=True)
def test_a_table_elsewhere_is_followed(no_links: None, tmp_path: Path) -> None:
    there = f"memory://{tmp_path.name}-tables"
    for later in ("1", "2"):
        with delivered(there) as folder:
            folder.mkdir()
            (folder / "same").write_text("0")
            (folder / "changed").write_text(later)
        copy = current(tmp_path / "copy", there)
    assert ((copy / "same").read_text(), (copy / "changed").read_text()) == ("0", "2")
