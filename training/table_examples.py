"""Examples in a feature table: their labels are in memory, their features are read day by day."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from mlops.contract import UseCase
from mlops.features import FeatureSet
from training.dataset import Span, feature_matrix, label_array
from training.examples import ArrayExamples

__all__ = ["TableExamples"]

Floats = NDArray[np.float32]


class TableExamples:
    """The labelled events of the first `days` days of `span`, in order of (time, id). A day has to fit into memory.

    `unlabelled` counts the others of these days.
    """

    def __init__(
        self, folder: Path, source: ds.Dataset, use_case: UseCase, features: FeatureSet, span: Span, days: int
    ) -> None:
        self._folder, self._source, self._use_case, self._names = folder, source, use_case, features.names
        self._days = [self._chosen(span, day) for day in range(days)]
        label = use_case.label.column
        order = [use_case.events.time, use_case.events.id]
        self.n_features = len(self._names)
        self.labels = np.concatenate(
            [label_array(self._rows(day, [label, *order])[label], use_case.task) for day in self._days]
        )

        everything = source.count_rows(filter=span.between(use_case.events.time, 0, days))
        self.unlabelled = everything - len(self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def arrays(self) -> tuple[Floats, NDArray[Any]]:
        days = [self._read(day) for day in self._days]
        return np.concatenate(days), self.labels

    def batches(
        self, size: int, *, epoch: int, seed: int, rank: int = 0, world: int = 1
    ) -> Iterator[tuple[Floats, NDArray[Any]]]:
        return ArrayExamples(*self.arrays()).batches(size, epoch=epoch, seed=seed, rank=rank, world=world)

    def _chosen(self, span: Span, day: int) -> pc.Expression:
        time, label = self._use_case.events.time, self._use_case.label.column
        chosen = span.between(time, day, day + 1) & ds.field(label).is_valid()
        return chosen if span.awaited is None else chosen & (ds.field(time) < span.awaited)

    def _rows(self, day: pc.Expression, columns: list[str]) -> Any:
        events = self._use_case.events
        rows = self._source.to_table(columns=columns, filter=day)
        return rows.sort_by([(events.time, "ascending"), (events.id, "ascending")])

    def _read(self, day: pc.Expression) -> Floats:
        events = self._use_case.events
        rows = self._rows(day, list(dict.fromkeys([events.time, events.id, *self._names])))
        return feature_matrix(rows, self._names, self._folder)
