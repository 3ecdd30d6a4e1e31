"""Why a feature has its value: for one event its windows, the events that entered them, and the value everywhere.

"Everywhere" is the event table, from which values are computed again; the feature table, which models are trained on;
the online store; and the decision log, where what was served stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from mlops.aggregates import Aggregate, Count
from mlops.contract import UseCase
from mlops.errors import InputError
from mlops.features import FeatureSet
from mlops.schema import EventSchema
from mlops.wording import definitions, window_text
from pipelines.history import event_dataset
from pipelines.kernel import features_of, fulfils

__all__ = ["ExplainedFeature", "Explanation", "Window", "explain", "frame_of", "window_of"]

Id = int | str


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The events of one key in one window, oldest first: as the event table and as the online store have them.

    `begin` and `end` are ISO 8601; `online` is None where the store does not know the event.
    """

    key: str
    value: str
    window: str
    begin: str
    end: str
    offline: tuple[Id, ...]
    online: tuple[Id, ...] | None


class ExplainedFeature(msgspec.Struct, frozen=True, kw_only=True):
    """A feature's value, and the place of its window among the explanation's; None is: not known there."""

    name: str
    unit: str
    definition: str
    window: int | None
    offline: float
    table: float | None
    online: float | None
    served: float | None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to know about an event's features. `events` are the rows of all events in its windows."""

    event: dict[str, Any]
    features: tuple[ExplainedFeature, ...]
    windows: tuple[Window, ...]
    events: tuple[dict[str, Any], ...]

    @property
    def differences(self) -> tuple[str, ...]:
        """The features that do not have one value wherever they are known."""
        return tuple(
            f.name for f in self.features if len({f.offline, f.table, f.online, f.served} - {None}) > 1
        )


class Online(msgspec.Struct, frozen=True):
    """What the online store says: the features by name, and the ids of the events in each window that it keeps."""

    values: dict[str, float]
    windows: dict[Aggregate, tuple[Id, ...]]


def explain(
    events: Path,
    event_id: str,
    use_case: UseCase,
    *,
    features: Path | None = None,
    served: dict[str, float] | None = None,
    ask_store: Callable[[dict[str, Any], Sequence[Aggregate]], Online | None] | None = None,
) -> Explanation:
    """Explain the features of one event.

    Args:
        events: the event table.
        event_id: as text, whatever ids are.
        features: the feature table, if there is one.
        served: the features in the decision about the event that counts, by name, if there was one.
        ask_store: gives the online store's view of a row of the event table, None if it does not know the event.

    Raises:
        InputError: no such event.
    """
    schema, declared = use_case.events, use_case.features
    rows, place = _rows_that_share_a_key(events, event_id, declared, schema)
    row = rows.slice(place, 1).to_pylist()[0]
    frames = list(dict.fromkeys(frame_of(a) for a in declared.aggregates))
    online = ask_store(row, frames) if ask_store is not None else None
    masks = [window_of(rows, place, frame, schema) for frame in frames]
    windows = tuple(
        Window(
            key=frame.key,
            value=str(row[frame.key]),
            window=window_text(frame),
            begin=_ago(row[schema.time], frame.delay_us + frame.window_us),
            end=_ago(row[schema.time], frame.delay_us),
            offline=_ids_in_order(rows.filter(pa.array(mask)), schema),
            online=online.windows.get(frame) if online is not None else None,
        )
        for frame, mask in zip(frames, masks, strict=True)
    )
    offline = features_of(rows, declared, schema).slice(place, 1).to_pylist()[0]
    table = _row_of(features, row[schema.id], declared, schema) if features is not None else {}
    window = {a.name: frames.index(frame_of(a)) for a in declared.aggregates}
    words = definitions(declared, windows=False)
    shown = np.logical_or.reduce(masks, axis=0) if masks else np.zeros(rows.num_rows, bool)
    shown[place] = True
    return Explanation(
        event=row,
        features=tuple(
            ExplainedFeature(
                name=name,
                unit=unit,
                definition=words[name],
                window=window.get(name),
                offline=float(offline[name]),
                table=table.get(name),
                online=online.values.get(name) if online is not None else None,
                served=served.get(name) if served is not None else None,
            )
            for name, unit, _ in declared.describe()
        ),
        windows=windows,
        events=tuple(_sorted(rows.filter(pa.array(shown)), schema).to_pylist()),
    )


def window_of(rows: pa.Table, place: int, a: Aggregate, schema: EventSchema) -> NDArray[np.bool_]:
    """Which rows are in the window of the event at `place`, by the letter of `mlops.features` [n].

    Args:
        rows: events in canonical columns.
    """
    row = rows.slice(place, 1).to_pylist()[0]
    time, end = rows[schema.time], row[schema.time] - timedelta(microseconds=a.delay_us)
    inside = pc.and_(pc.greater(time, end - timedelta(microseconds=a.window_us)), pc.less_equal(time, end))
    inside = pc.and_(inside, pc.equal(rows[a.key], row[a.key]))
    if not a.delay_us:
        ids = pc.less_equal if a.include_current else pc.less
        inside = pc.and_(inside, pc.or_(pc.less(time, end), ids(rows[schema.id], row[schema.id])))
    mask: NDArray[np.bool_] = inside.to_numpy(zero_copy_only=False).astype(bool)
    return mask if a.where is None else mask & fulfils(rows[a.where.column], a.where)


def frame_of(a: Aggregate) -> Aggregate:
    """The same window, whatever is computed over it."""
    return msgspec.structs.replace(a, name="", agg=Count(), fallback=0.0)


def _rows_that_share_a_key(
    events: Path, event_id: str, features: FeatureSet, schema: EventSchema
) -> tuple[pa.Table, int]:
    """The events that have a key in common with this one, as far as windows reach, itself too, and its place."""
    source = event_dataset(events, schema)
    try:
        wanted = pa.scalar(event_id).cast(source.schema.field(schema.id).type)
    except pa.ArrowInvalid:
        wanted = None
    found = source.to_table(filter=ds.field(schema.id) == wanted) if wanted is not None else None
    if not found:
        raise InputError(
            f"no event {event_id!r}",
            where=events,
            todo="give the id of one that was validated or ingested; what was only served is in the log",
        )
    row = found.to_pylist()[0]
    shared = ds.field(schema.id) == wanted
    for key in features.by_key:
        begin = row[schema.time] - timedelta(microseconds=features.horizon_us)
        within = (ds.field(schema.time) > begin) & (ds.field(schema.time) <= row[schema.time])
        shared = shared | ((ds.field(key) == row[key]) & within)
    rows = source.to_table(filter=shared).combine_chunks()
    return rows, pc.index(rows[schema.id], wanted).as_py()


def _row_of(table: Path, event_id: Id, features: FeatureSet, schema: EventSchema) -> dict[str, float]:
    """The event's features in a feature table, as far as it has them."""
    source = ds.dataset(table, format="parquet")
    names = [name for name in features.names if name in source.schema.names]
    rows = source.to_table(names, filter=ds.field(schema.id) == event_id).to_pylist()
    return {name: float(value) for name, value in rows[0].items() if value is not None} if rows else {}


def _sorted(rows: pa.Table, schema: EventSchema) -> pa.Table:
    order = [(schema.time, "ascending")] if schema.time else []
    return rows.sort_by([*order, (schema.id, "ascending")])


def _ids_in_order(rows: pa.Table, schema: EventSchema) -> tuple[Id, ...]:
    return tuple(_sorted(rows, schema)[schema.id].to_pylist())


def _ago(moment: datetime, microseconds: int) -> str:
    return (moment - timedelta(microseconds=microseconds)).isoformat()
