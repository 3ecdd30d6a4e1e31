"""Which days a model is trained on, where nobody says."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pyarrow.dataset as ds

from mlops.errors import InputError
from mlops.home import use_case_of
from mlops.policy import Split
from mlops.settings import Settings
from mlops.tables import read_event_table
from pipelines.staged import current
from training.dataset import awaited_from

__all__ = ["default_training_day"]


def default_training_day(settings: Settings) -> date | None:
    """The latest first day of training that leaves room for delay and test days; None where the split is at random.

    The test days end with the last event's day, if the labels are complete, as those of an archive are. If labels of
    the last `label.delay_days` are missing, they are awaited: then the test days end before, with the last day whose
    labels are all due, since of the days after it only what was reported early is known.

    Raises:
        InputError: the events whose labels are due span fewer days than one split needs.
    """
    use_case = use_case_of(settings)
    split, label = use_case.policy.split, use_case.label
    if not isinstance(split, Split):
        return None
    events = current(settings.events, settings.events_uri)
    table, days = read_event_table(events), split.days
    first, last = (datetime.fromisoformat(t).date() for t in (table.first_event, table.last_event))
    columns = ds.dataset(events, format="parquet").to_table([use_case.events.time, label.column])
    awaited = awaited_from(columns[use_case.events.time], columns[label.column], label.delay_days)
    if awaited is not None:
        last = awaited.date() - timedelta(days=1)
    span = max(0, (last - first).days + 1)
    if span < days:
        raise InputError(
            f"the events {'whose labels are due ' if awaited else ''}span {span} days, and training, delay and test "
            f"need {days}",
            where=settings.events,
            todo="bring more days, or change `split` in policy.yaml",
        )
    return last - timedelta(days=days - 1)
