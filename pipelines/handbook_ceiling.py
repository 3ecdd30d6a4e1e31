"""What the use case's ceiling scorer reaches on folds of the published protocol."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from mlops.contract import load_dotted, load_use_case
from mlops.settings import Settings
from training.handbook import PROTOCOL, load_fold, mean_figures
from training.published import Figures

__all__ = ["ceiling_figures"]


def ceiling_figures(settings: Settings, groups: Sequence[Sequence[str]]) -> tuple[Figures, ...] | None:
    """The mean figures over each group of folds, or None where the scorer, or a column that it reads, is missing.

    Args:
        settings: of a home with events and features.
        groups: folds by their first training day, ISO date.

    Raises:
        InputError: no feature table that has these folds.
    """
    if find_spec(f"{settings.usecase}.ceiling") is None:
        return None
    columns = load_dotted(f"{settings.usecase}.ceiling:COLUMNS")
    score = load_dotted(f"{settings.usecase}.ceiling:ceiling")
    schema = load_use_case(settings.usecase).events
    source = ds.dataset(settings.events, format="parquet")
    if not set(columns) <= set(source.schema.names):
        return None
    table = source.to_table(columns=list(dict.fromkeys([schema.id, *columns])))
    if any(table[name].null_count == len(table) for name in columns):
        return None
    table = table.sort_by([(schema.time, "ascending"), (schema.id, "ascending")])
    starts = dict.fromkeys(start for group in groups for start in group)
    folds = {start: load_fold(settings.usecase, settings.features, start) for start in starts}
    tested = np.unique(np.concatenate([fold.ids for fold in folds.values()]))
    ids = table[schema.id].to_numpy()
    wanted = np.isin(ids, tested)
    arrays = {name: _numbers(table[name]) for name in columns}
    scores = score(arrays, wanted, delay_days=PROTOCOL.delay_days)
    by_id = np.argsort(ids[wanted], kind="stable")
    found = {
        start: fold.figures(scores[by_id[np.searchsorted(ids[wanted], fold.ids, sorter=by_id)]])
        for start, fold in folds.items()
    }
    return tuple(mean_figures(found[start] for start in group) for group in groups)


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """Times as microseconds since 1970; -1 where a number is not known."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    if pa.types.is_integer(column.type):
        column = pc.fill_null(column, -1)
    return column.to_numpy()
