"""Writes simulator.md, every number in it found by simulating: `python docs/simulator.py`."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from usecases.fraud.simulator import SimulateResult, simulate, write_days
from usecases.fraud.world import DEFECTS, MALFORMED, World

__all__ = ["KNOBS", "Knob", "Look", "render"]

HERE = Path(__file__).parent
SIZE = ("customers=500", "days=60")

HEAD = """# The simulated world

Card payments after the processes of Le Borgne et al., *Reproducible Machine Learning for Credit Card Fraud Detection*
(2022), and knobs that change the world as worlds change. A knob is a field of
[`World`](../usecases/fraud/world.py), and `--set KEY=VALUE` turns it:

    .venv/bin/mlops simulate OUT --set customers=500 --set days=60
    .venv/bin/mlops simulate OUT --set days=1830 --spark        # many events: Spark's workers write the files

The same seed gives the same world, whoever writes which days of it. Randomness comes from one stream per process
and day, so a knob adds to the world or takes from it, and the rest stays the same draw: compare two worlds row by row.

What each knob does to the world of 500 customers and 60 days from Sunday 2018-04-01, without it → with it: add what
stands in the first column to the first line above. Written by `.venv/bin/python docs/simulator.py`; what a knob means,
and between what it may be, stands in [`World`](../usecases/fraud/world.py).
"""

FOOT = """
## What to know

- Of the same density as the published world (5,000 customers, 10,000 terminals) are worlds of all sizes: a small one
  has as many terminals in reach and as large a share of frauds.
- `TX_FRAUD` is the label as it is known; `TX_FRAUD_SCENARIO` is the truth, by which models are judged: the schema says
  that it is known no sooner than the label, so no feature may read it. `TERMINAL_REGION` is the quarter of the map that
  the terminal stands in; the published layout does not have it.
- Late events and damaged rows are of the delivery, not of the world: event ids count over all events in order of
  time, before anything is delayed or damaged.
- Label noise turns labels over whatever they say. As frauds are rare, far more genuine payments are called frauds than
  the other way round.
- The label delay of the use case (7 days) is a matter of the platform, which lets no feature see a younger label.
  `unlabelled_days` is how the end of an archive looks, whose last labels have not come in.
"""


class Look:
    """What there is to see of one world, drawn when it is looked at."""

    def __init__(self, world: World) -> None:
        self.world = world

    @cached_property
    def events(self) -> pa.Table:
        """All of them."""
        return simulate(self.world)

    @cached_property
    def written(self) -> SimulateResult:
        """What stands in the files."""
        with tempfile.TemporaryDirectory() as folder:
            return write_days(self.world, Path(folder) / "out")

    def scenario(self, number: int) -> str:
        """Events of a fraud scenario."""
        return f"{pc.sum(pc.equal(self.events['TX_FRAUD_SCENARIO'], number)).as_py():,}"

    def terminals(self) -> str:
        """Those that were paid at."""
        return f"{len(pc.unique(self.events['TERMINAL_ID'])):,}"

    def damaged(self) -> str:
        """Rows in the files that are no events."""
        return f"{self.written.rows - self.written.events:,}"

    def mean_amount(self, first: int, last: int) -> str:
        """Of the payments from day `first` to day `last`."""
        return f"{pc.mean(self.events.filter(self._between(first, last))['TX_AMOUNT']).as_py():.2f}"

    def payments(self, first: int, last: int) -> str:
        """So many a day, from day `first` to day `last`."""
        return f"{pc.sum(self._between(first, last)).as_py() / (last - first + 1):,.0f}"

    def _between(self, first: int, last: int) -> pa.ChunkedArray:
        day = self.events["TX_TIME_DAYS"]
        return pc.and_(pc.greater_equal(day, first), pc.less_equal(day, last))


class Knob(NamedTuple):
    """Fields of the world, what is seen of them, and how it is found."""

    sets: tuple[str, ...]
    seen: str
    find: Callable[[Look], str]


KNOBS = (
    Knob(("seed=1",), "payments", lambda look: f"{look.events.num_rows:,}"),
    Knob(("customers=1000",), "payments", lambda look: f"{look.events.num_rows:,}"),
    Knob(
        ("terminals=250",),
        "terminals that were paid at",
        Look.terminals,
    ),
    Knob(("days=180",), "day files", lambda look: f"{look.world.file_count}"),
    Knob(
        ("start=2018-12-31",),
        "first payment",
        lambda look: f"{pc.min(look.events['TX_DATETIME']).as_py()}",
    ),
    Knob(
        ("change=new-pattern", "change_day=40"),
        "card-testing frauds, in bursts of small payments; mean amount of the last week",
        lambda look: f"{look.scenario(4)}; {look.mean_amount(53, 59)}",
    ),
    Knob(
        ("change=new-pattern", "change_day=40", "tested_cards=10"),
        "card-testing frauds",
        lambda look: look.scenario(4),
    ),
    Knob(
        ("change=new-pattern", "change_day=40", "tested_cards=0", "price_rise=1.2"),
        "a change of prices only: mean amount of the last week",
        lambda look: look.mean_amount(53, 59),
    ),
    Knob(
        ("change=unlearnable", "change_day=40"),
        "frauds without a signal",
        lambda look: look.scenario(5),
    ),
    Knob(
        ('fraud_waves=[{"first_day":30,"days":7,"factor":20}]',),
        "frauds with compromised cards",
        lambda look: look.scenario(3),
    ),
    Knob(
        ("spending_drift=1.0",),
        "mean amount of the first and of the last week",
        lambda look: f"{look.mean_amount(0, 6)} and {look.mean_amount(53, 59)}",
    ),
    Knob(
        ("new_terminals=50",),
        "terminals that were paid at",
        Look.terminals,
    ),
    Knob(
        ("weekend_volume=0.5",),
        "payments on the second weekend, a day, and in the week after",
        lambda look: f"{look.payments(6, 7)} and {look.payments(8, 12)}",
    ),
    Knob(
        ("yearly_season=0.4",),
        "payments a day in April and in May",
        lambda look: f"{look.payments(0, 29)} and {look.payments(30, 59)}",
    ),
    Knob(
        ("unlabelled_days=7",),
        "events without a label",
        lambda look: f"{look.written.unlabelled:,}",
    ),
    Knob(("label_noise=0.01",), "wrong labels", lambda look: f"{look.written.mislabelled:,}"),
    Knob(("late_events=0.02",), "events that come late", lambda look: f"{look.written.late:,}"),
    Knob(
        ("late_events=0.02", "late_days=10"),
        "days on which files come",
        lambda look: f"{look.world.file_count}",
    ),
    Knob(
        ("defects=0.01",),
        "damaged rows: " + ", ".join(DEFECTS).replace("_", " "),
        Look.damaged,
    ),
    Knob(
        ("defects=0.01", "defects_until_day=30"),
        "damaged rows, the first 30 days",
        Look.damaged,
    ),
    Knob(
        ("defects=0.01", 'defect_kinds=["duplicate"]'),
        "exact duplicates",
        Look.damaged,
    ),
    Knob(
        ("file_format=csv", "defects=0.01", f"defect_kinds={msgspec.json.encode(MALFORMED).decode()}"),
        "rows with text where a number, a time or a label belongs",
        Look.damaged,
    ),
)


def look_at(sets: tuple[str, ...]) -> Look:
    """The small world with these knobs turned."""
    knobs: dict[str, Any] = {}
    for text in (*SIZE, *sets):
        name, _, value = text.partition("=")
        try:
            knobs[name] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            knobs[name] = value
    return Look(msgspec.convert(knobs, World))


def render() -> str:
    """The page, as Markdown."""
    plain = look_at(())
    lines = [
        HEAD,
        "| knob | what is seen | without → with |",
        "|---|---|---|",
    ]
    for knob in KNOBS:
        command = " ".join(f"--set {shlex.quote(text)}" for text in knob.sets)
        lines.append(f"| `{command}` | {knob.seen} | {knob.find(plain)} → {knob.find(look_at(knob.sets))} |")
    return "\n".join(lines) + "\n" + FOOT


if __name__ == "__main__":
    (HERE / "simulator.md").write_text(render())
