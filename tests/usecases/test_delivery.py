"""The simulated events arrive as files, the same whoever writes which of them; damage and delay lose no event."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from mlops.errors import InputError
from mlops.storage import is_leftover
from usecases.fraud.payments import count_payments, payments
from usecases.fraud.population import populate
from usecases.fraud.simulator import DEFECTS, SCHEMA, simulate, write_days
from usecases.fraud.world import MALFORMED, Wave, World

SMALL = World(seed=3, customers=300, days=30)
EVERYTHING = World(
    customers=200,
    days=25,
    change="new-pattern",
    change_day=15,
    fraud_waves=(Wave(first_day=5, days=5, factor=30),),
    spending_drift=1.0,
    new_terminals=100,
    weekend_volume=1.4,
    yearly_season=0.3,
    unlabelled_days=4,
    label_noise=0.02,
    late_events=0.1,
    late_days=4,
    defects=0.05,
    defects_until_day=20,
)


def column(table: pa.Table, name: str) -> np.ndarray:
    return table[name].to_numpy()


def files(folder: Path) -> list[pa.Table]:
    return [pq.read_table(path) for path in sorted(folder.iterdir())]


def one_day_a_task(function: Callable[[range], Any], tasks: Sequence[range]) -> list[Any]:
    """As `map`, but in another order, each task cut into days that know nothing of each other."""
    alone = [range(day, day + 1) for task in tasks for day in task]
    shuffled = random.Random(0).sample(alone, len(alone))
    results = {task: function(task) for task in shuffled}
    return [results[task] for task in alone]


def test_day_files_hold_the_simulated_events(tmp_path: Path) -> None:
    result = write_days(SMALL, tmp_path / "events")
    names = sorted(path.name for path in (tmp_path / "events").iterdir())
    assert (names[0], names[-1], len(names)) == ("2018-04-01.parquet", "2018-04-30.parquet", 30)
    events = simulate(SMALL)
    delivered = files(tmp_path / "events")
    assert all(len(pc.unique(file["TX_TIME_DAYS"])) == 1 for file in delivered)
    assert pa.concat_tables(delivered).equals(events)
    assert (result.uri, result.days) == (str(tmp_path / "events"), 30)
    assert result.rows == result.events == events.num_rows == sum(result.rows_by_scenario.values())
    assert result.frauds == column(events, "TX_FRAUD").sum()
    assert result.defects == dict.fromkeys(DEFECTS, 0)


def test_defects_are_counted_by_kind_and_leave_good_events_alone(tmp_path: Path) -> None:
    world = msgspec.structs.replace(SMALL, defects=0.01, defects_until_day=20)
    result = write_days(world, tmp_path / "events")
    delivered = files(tmp_path / "events")
    rows = pa.concat_tables(delivered)
    events = simulate(world)
    good_ids = column(events, "TRANSACTION_ID")
    repeated = Counter(column(rows, "TRANSACTION_ID").tolist())
    time = rows["TX_DATETIME"]
    found = {
        "duplicate": sum(n - 1 for n in repeated.values()),
        "missing_amount": rows["TX_AMOUNT"].null_count,
        "negative_amount": pc.sum(pc.less(rows["TX_AMOUNT"], 0)).as_py(),
        "missing_customer": rows["CUSTOMER_ID"].null_count,
        "missing_time": time.null_count,
        "time_out_of_range": pc.sum(pc.equal(pc.year(time), 1900)).as_py(),
    }
    assert found == result.defects
    assert min(found.values()) > 0
    later = pc.greater_equal(events["TX_TIME_DAYS"], 20)
    assert sum(found.values()) == int(0.01 * pc.sum(pc.invert(later)).as_py()) == result.rows - result.events
    assert rows.num_rows == result.rows
    good = rows.filter(pc.is_in(rows["TRANSACTION_ID"], pa.array(good_ids)))
    assert good.group_by(good.column_names).aggregate([]).sort_by("TRANSACTION_ID").equals(events)
    assert pa.concat_tables(delivered[20:]).equals(events.filter(later))


def test_writing_again_replaces_days_of_another_world(tmp_path: Path) -> None:
    write_days(SMALL, tmp_path / "events")
    (tmp_path / "events" / ".tmp-2018-04-01.parquet-0").write_bytes(b"half a day")
    shorter = msgspec.structs.replace(SMALL, days=2)
    write_days(shorter, tmp_path / "events")
    assert [path.name for path in sorted((tmp_path / "events").iterdir())] == [
        "2018-04-01.parquet",
        "2018-04-02.parquet",
    ]


def test_a_writer_that_is_killed_leaves_no_day(tmp_path: Path) -> None:
    out = tmp_path / "events"
    program = (
        "from pathlib import Path; from usecases.fraud.simulator import World, write_days;"
        f"write_days(World(customers=2000, days=5000), Path({str(out)!r}))"
    )
    writer = subprocess.Popen([sys.executable, "-c", program])
    try:
        limit = time.monotonic() + 120
        while not any(tmp_path.glob(".tmp-*/*.parquet")):
            assert writer.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.02)
    finally:
        writer.kill()
        writer.wait()
    assert not out.exists()
    assert all(is_leftover(path) for path in tmp_path.iterdir())
    assert write_days(SMALL, out).days == len(list(out.iterdir())) == 30


def test_a_folder_with_other_files_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"thesis\.tex"):
        write_days(SMALL, tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        write_days(SMALL, tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_one_customer_is_a_world_too(tmp_path: Path) -> None:
    world = World(customers=1, days=40, change_day=20, change="unlearnable", defects=0.5, late_events=0.5)
    assert write_days(world, tmp_path / "events").days == 40


@pytest.mark.parametrize("knobs", [{}, {"file_format": "csv", "defect_kinds": DEFECTS + MALFORMED}])
def test_who_writes_which_days_changes_no_byte(tmp_path: Path, knobs: dict[str, Any]) -> None:
    world = msgspec.structs.replace(EVERYTHING, **knobs)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    result = write_days(world, whole)
    assert write_days(world, parts, one_day_a_task) == msgspec.structs.replace(result, uri=str(parts))
    assert {p.name: p.read_bytes() for p in whole.iterdir()} == {
        p.name: p.read_bytes() for p in parts.iterdir()
    }


def test_days_are_counted_as_they_are_drawn() -> None:
    for knobs in ({}, {"weekend_volume": 0.6}, {"change": "unlearnable"}):
        world = msgspec.structs.replace(EVERYTHING, **knobs)
        population = populate(world)
        for day in range(world.days):
            assert count_payments(world, population, day) == len(payments(world, population, day))


def test_the_world_of_a_seed_is_the_one_that_it_always_was() -> None:
    # The figures of the demo and of the notebooks depend on it.
    world = World(customers=200, days=30, change="new-pattern", change_day=20)
    digest = hashlib.sha256()
    events = simulate(world)
    *published, region = SCHEMA.names
    for name in published:
        digest.update(column(events, name).tobytes())
    assert digest.hexdigest()[:16] == "4764c13f67cdb10c"
    assert hashlib.sha256("".join(events[region].to_pylist()).encode()).hexdigest()[:16] == "82f6e1267ae4fdb6"


def test_late_events_come_with_a_later_file_and_each_comes_once(tmp_path: Path) -> None:
    world = msgspec.structs.replace(SMALL, late_events=0.1, late_days=4)
    result = write_days(world, tmp_path / "events")
    delivered = files(tmp_path / "events")
    assert len(delivered) == 30 + 4
    events = simulate(world)
    assert events.equals(simulate(SMALL))
    assert pa.concat_tables(delivered).sort_by("TRANSACTION_ID").equals(events)
    delays = np.concatenate([n - column(file, "TX_TIME_DAYS") for n, file in enumerate(delivered)])
    assert (delays > 0).sum() == result.late
    assert result.late == pytest.approx(0.1 * len(delays), abs=4 * (0.09 * len(delays)) ** 0.5)
    counts = np.bincount(delays)
    assert len(counts) == 5
    assert counts[1:] == pytest.approx(result.late / 4, rel=0.25)
    assert result.days == 30


def test_all_kinds_of_damage_stand_beside_the_events_of_a_world_with_every_knob_turned(
    tmp_path: Path,
) -> None:
    result = write_days(EVERYTHING, tmp_path / "events")
    rows = pa.concat_tables(files(tmp_path / "events"))
    events = simulate(EVERYTHING)
    good = rows.filter(pc.is_in(rows["TRANSACTION_ID"], events["TRANSACTION_ID"]))
    assert good.group_by(good.column_names).aggregate([]).sort_by("TRANSACTION_ID").equals(events)
    assert rows.num_rows == result.rows == result.events + sum(result.defects.values())
    assert result.unlabelled == events["TX_FRAUD"].null_count > 0
    known = events.filter(events["TX_FRAUD"].is_valid())
    truth = column(known, "TX_FRAUD_SCENARIO") > 0
    assert result.mislabelled == (column(known, "TX_FRAUD") != truth).sum() > 0


def test_defects_can_be_of_one_kind_only(tmp_path: Path) -> None:
    world = msgspec.structs.replace(SMALL, defects=0.1, defect_kinds=("duplicate",))
    result = write_days(world, tmp_path / "events")
    assert result.defects == {"duplicate": int(0.1 * result.events)}
    ids = Counter(column(pa.concat_tables(files(tmp_path / "events")), "TRANSACTION_ID").tolist())
    assert Counter(ids.values())[2] == result.defects["duplicate"] == result.rows - len(ids)


def test_csv_files_hold_the_same_events_and_text_where_a_number_belongs(tmp_path: Path) -> None:
    world = msgspec.structs.replace(
        SMALL, unlabelled_days=3, defects=0.01, defect_kinds=MALFORMED, file_format="csv"
    )
    result = write_days(world, tmp_path / "events")
    texts = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(SCHEMA.names, pa.string()), strings_can_be_null=True
    )
    paths = sorted((tmp_path / "events").iterdir())
    rows = pa.concat_tables(pyarrow.csv.read_csv(path, convert_options=texts) for path in paths)
    ids = rows["TRANSACTION_ID"].cast(pa.int64())
    good = rows.filter(pc.less(ids, 10**12))
    assert good.cast(SCHEMA).equals(simulate(world))
    damaged = rows.filter(pc.greater_equal(ids, 10**12))
    shapes = {
        "TX_AMOUNT": r"^EUR \d+(\.\d+)?$",
        "TX_DATETIME": r"^\d{4}-\d\d-\d\d \d\dh\d\dh\d\d$",
        "TX_FRAUD": "^maybe$",
    }
    found = {name: pc.match_substring_regex(damaged[name], shape) for name, shape in shapes.items()}
    counts = dict(zip(MALFORMED, (pc.sum(matches).as_py() for matches in found.values()), strict=True))
    assert counts == result.defects
    assert sum(counts.values()) == damaged.num_rows == int(0.01 * result.events)


def test_the_largest_population_fits_into_little_memory() -> None:
    world = World(customers=50_000, terminals=100_000)
    tracemalloc.start()
    try:
        population = populate(world)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert population.reach.degree.mean() == pytest.approx(78.5, rel=0.05)
    assert peak < 1 << 29  # a byte for each pair would take 5 GB


def test_a_day_in_the_fifth_year_is_drawn_without_those_before() -> None:
    begun = time.process_time()
    world = World(days=1830)
    population = populate(world)
    assert len(payments(world, population, 1829)) == count_payments(world, population, 1829) > 9_000
    assert time.process_time() - begun < 5
