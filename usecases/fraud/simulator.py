"""Card payments and their frauds, simulated: a whole world at once, or as files of a day each.

What happens on a day stands in `payments`, who lives there in `population`, the knobs in `world`, how the events
arrive in `delivery`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce
from itertools import accumulate
from operator import add
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from mlops.storage import check_replaceable, publish_dir
from usecases.fraud.delivery import DAY_FILE, SCHEMA, deliver, events_of
from usecases.fraud.payments import count_payments
from usecases.fraud.population import populate
from usecases.fraud.world import DEFECTS, World

__all__ = ["DEFECTS", "SCHEMA", "SimulateResult", "World", "simulate", "write_days"]

Run = Callable[[Callable[[range], Any], Sequence[range]], Iterable[Any]]
_DAYS_A_TASK = 10


class SimulateResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `write_days` wrote.

    `rows`, all that stand in the files, are `events` plus `defects`; frauds and scenarios count events, as they truly
    are; `late`, `unlabelled` and `mislabelled` events are among them.
    """

    uri: str
    rows: int
    events: int
    frauds: int
    days: int
    rows_by_scenario: dict[int, int]
    defects: dict[str, int]
    late: int
    unlabelled: int
    mislabelled: int


def simulate(world: World) -> pa.Table:
    """All events of the world, none late, without defects.

    Returns:
        a table with `SCHEMA`, sorted by (TX_DATETIME, TRANSACTION_ID); ids count from 0 in that order.
    """
    tables: list[pa.Table] = []
    known = 0
    for day in range(world.days):
        tables.append(events_of(world, day, known))
        known += tables[-1].num_rows
    return pa.concat_tables(tables).combine_chunks()


def write_days(world: World, out: Path, run: Run = map) -> SimulateResult:
    """Write the events as a source would deliver them: a folder with one file a day, defects and all.

    The folder appears when its last day is written, and replaces one that an earlier call wrote. Damaged rows
    are copies of events, added beside them; except for exact duplicates they have ids of their own.

    Args:
        run: `map`, or what runs such tasks elsewhere: function and tasks can be pickled, tasks know nothing of each
            other and write to the same folder. First they count the events of each day, as ids count over the days.
            Who runs them changes no byte.

    Raises:
        InputError: `out` is a file, or a folder that holds something other than day files.
        SetupError: the device is full.
    """
    check_replaceable(out, lambda names: {name for name in names if DAY_FILE.fullmatch(name)})
    counts = [n for part in run(partial(_count, world), _spans(world.days)) for n in part]
    starts = list(accumulate(counts, initial=0))
    with publish_dir(out) as folder:
        write = partial(deliver, world, starts, folder.absolute())
        tally = reduce(add, run(write, _spans(world.file_count)))
    return SimulateResult(
        uri=str(out),
        rows=starts[-1] + sum(tally.defects.values()),
        events=starts[-1],
        frauds=starts[-1] - tally.scenarios.get(0, 0),
        days=world.days,
        rows_by_scenario=dict(sorted(tally.scenarios.items())),
        defects={kind: tally.defects.get(kind, 0) for kind in world.defect_kinds},
        late=tally.late,
        unlabelled=tally.unlabelled,
        mislabelled=tally.mislabelled,
    )


def _count(world: World, days: range) -> list[int]:
    return [count_payments(world, populate(world), day) for day in days]


def _spans(days: int) -> list[range]:
    return [range(first, min(first + _DAYS_A_TASK, days)) for first in range(0, days, _DAYS_A_TASK)]
