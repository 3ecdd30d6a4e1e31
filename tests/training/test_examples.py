"""Examples give the same batches wherever they lie, and a table gives them without being in memory."""

from __future__ import annotations

import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mlops.errors import InputError
from tests.training import example
from training.dataset import load_dataset, open_table, span_of
from training.examples import ArrayExamples, Batch, Examples
from training.table_examples import TableExamples

DAYS = 6


def in_table(folder: Path, *, buffer_rows: int = 1_000_000) -> TableExamples:
    source, _ = open_table(folder, example.USE_CASE, example.FEATURES)
    span = span_of(source, example.USE_CASE, folder, example.FIRST_DAY, 8)
    size = 4 * len(example.FEATURES.names) * buffer_rows
    return TableExamples(folder, source, example.USE_CASE, example.FEATURES, span, DAYS, buffer_bytes=size)


def in_memory(folder: Path) -> ArrayExamples:
    data = load_dataset(folder, example.USE_CASE, first_day=example.FIRST_DAY, days=8)
    rows = data.known & (data.day < DAYS)
    return ArrayExamples(data.features[rows], data.label[rows])


def epoch(examples: Examples, size: int = 100, *, number: int = 0, seed: int = 0) -> list[Batch]:
    return list(examples.batches(size, epoch=number, seed=seed))


def rows_of(batches: list[Batch]) -> list[tuple[float, ...]]:
    return [tuple(row) for x, y in batches for row in np.column_stack([x, y]).tolist()]


def same(some: list[Batch], others: list[Batch]) -> bool:
    return len(some) == len(others) and all(
        np.array_equal(a, b)
        for one, two in zip(some, others, strict=True)
        for a, b in zip(one, two, strict=True)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return example.write_feature_table(tmp_path_factory.mktemp("examples") / "features", unlabelled=100)


def test_a_table_gives_the_batches_that_its_rows_in_memory_would(folder: Path) -> None:
    table, memory = in_table(folder), in_memory(folder)
    assert len(table) == len(memory) == DAYS * 400 - 100
    assert table.unlabelled == 100
    for number, seed in ((0, 0), (3, 1)):
        assert same(epoch(table, number=number, seed=seed), epoch(memory, number=number, seed=seed))
    assert all(map(np.array_equal, table.arrays(), memory.arrays()))
    assert same(list(table.blocks()), list(memory.blocks()))


def test_what_does_not_fit_into_the_buffer_is_seen_once_an_epoch_in_another_order_each_time(
    folder: Path,
) -> None:
    streamed = in_table(folder, buffer_rows=500)
    first, second = epoch(streamed), epoch(streamed, number=1)
    everything = sorted(rows_of(epoch(in_memory(folder))))
    assert sorted(rows_of(first)) == sorted(rows_of(second)) == everything
    assert rows_of(first) != rows_of(second)
    assert same(first, epoch(streamed))
    assert not same(first, epoch(streamed, seed=1))
    assert [len(y) for _, y in first] == [100] * 23
    assert sorted(rows_of(list(streamed.blocks()))) == everything


@pytest.mark.parametrize(
    ("buffer_rows", "size"), [(100, 100), (101, 77), (150, 149), (1, 1), (1, 500), (64, 33), (90, 600)]
)
def test_batches_may_be_as_large_as_the_buffer_or_larger(tmp_path: Path, buffer_rows: int, size: int) -> None:
    folder = example.write_feature_table(tmp_path / "short days", per_day=60)
    found = epoch(in_table(folder, buffer_rows=buffer_rows), size)
    assert sorted(rows_of(found)) == sorted(rows_of(epoch(in_memory(folder))))
    assert {len(y) for _, y in found[:-1]} <= {size}


def test_the_rows_of_a_day_are_spread_over_many_batches(folder: Path) -> None:
    streamed = in_table(folder, buffer_rows=900)
    day = {tuple(row) for row in streamed.arrays()[0][:300].tolist()}
    reached = [number for number, (x, _) in enumerate(epoch(streamed)) if day & set(map(tuple, x.tolist()))]
    assert len(reached) > 6


@pytest.mark.parametrize("buffer_rows", [500, 1_000_000])
def test_how_the_table_is_laid_out_in_files_changes_nothing(
    folder: Path, tmp_path: Path, buffer_rows: int
) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    table = pq.read_table(folder).sort_by([("event", "descending")])
    for part in other.glob("*.parquet"):
        part.unlink()
    for number in range(7):
        to = other / f"day={number}" / "part-0.parquet"
        to.parent.mkdir()
        pq.write_table(table.slice(number * 500, 500), to, row_group_size=170)
    one, two = (in_table(path, buffer_rows=buffer_rows) for path in (folder, other))
    assert same(epoch(one), epoch(two))


@pytest.mark.parametrize("buffer_rows", [500, 1_000_000])
def test_processes_share_each_batch(folder: Path, buffer_rows: int) -> None:
    examples = in_table(folder, buffer_rows=buffer_rows)
    shares = [list(examples.batches(101, epoch=0, seed=0, rank=rank, world=3)) for rank in range(3)]
    for batch, *parts in zip(epoch(examples, 101), *shares, strict=True):
        assert sorted(rows_of([batch])) == sorted(rows_of(parts))
        assert max(len(y) for _, y in parts) - min(len(y) for _, y in parts) <= 1


def test_the_same_rows_are_held_out_of_a_table_and_of_memory(folder: Path) -> None:
    kinds = in_memory(folder), in_table(folder), in_table(folder, buffer_rows=300)
    parts = [examples.held_out(10) for examples in kinds]
    for rest, apart in parts:
        assert (len(rest), len(apart)) == (len(kinds[0]) - len(apart), len(kinds[0]) // 10)
        for part, other in zip((rest, apart), parts[0], strict=True):
            assert all(map(np.array_equal, part.arrays(), other.arrays()))
            assert sorted(rows_of(epoch(part))) == sorted(rows_of(epoch(other)))
    again = [examples.held_out(10)[0].held_out(3)[1] for examples in kinds]
    assert all(np.array_equal(part.arrays()[0], again[0].arrays()[0]) for part in again)


def test_other_rows_have_another_fingerprint(folder: Path, tmp_path: Path) -> None:
    other = example.write_feature_table(tmp_path / "other", seed=1)
    for make in (in_memory, in_table):
        examples = make(folder)
        assert examples.fingerprint() == make(folder).fingerprint()
        found = {e.fingerprint() for e in (examples, make(other), *examples.held_out(10))}
        assert len(found) == 4


def test_a_table_that_changes_while_it_is_read_is_refused(folder: Path, tmp_path: Path) -> None:
    changing = shutil.copytree(folder, tmp_path / "changing")
    examples = in_table(changing)
    example.rewrite(changing, failed=np.zeros(8 * 400, bool))
    with pytest.raises(InputError, match="changed while it was read"):
        examples.arrays()


def test_an_epoch_needs_no_more_memory_than_the_buffer_and_some_days(tmp_path: Path) -> None:
    folder = example.write_feature_table(tmp_path / "large", per_day=20_000)
    examples = in_table(folder, buffer_rows=5_000)
    tracemalloc.start()
    try:
        rows = sum(len(y) for _, y in examples.batches(500, epoch=0, seed=0))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    day, everything = 20_000 * 4 * 4, examples.arrays()[0].nbytes
    assert rows == DAYS * 20_000
    assert peak < 5 * day < everything
