"""Examples in a feature table: their labels are in memory, their features are read day by day.

An epoch takes the days in a random order and shuffles their rows through a buffer. The rows of a day are ordered by
(time, id) first, so how the table is laid out in files changes nothing. What fits into the buffer as a whole is kept
there, and gives the same batches as the same rows in memory would.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from mlops.contract import UseCase
from mlops.errors import InputError
from mlops.features import FeatureSet
from mlops.tables import read_feature_table
from training.dataset import Span, feature_matrix, label_array
from training.examples import BLOCK_ROWS, ArrayExamples, Batch, Floats
from training.table_reader import Stretch, TableReader

__all__ = ["BUFFER_BYTES", "TableExamples"]

BUFFER_BYTES = 1 << 26  # of float32 features: 670,000 rows of 25

Rows = NDArray[np.int32]  # of a day; None stands for all of them, in order


class TableExamples:
    """The labelled events of the first `days` days of `span`, in order of (time, id).

    A day has to fit into memory three times over in float32. `unlabelled` counts the other events of these days.
    """

    def __init__(
        self,
        folder: Path,
        source: ds.Dataset,
        use_case: UseCase,
        features: FeatureSet,
        span: Span,
        days: int,
        *,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> None:
        self._folder, self._names = folder, features.names
        self._reader = TableReader(source, use_case.events.time)
        self.n_features = len(self._names)
        self._buffer_rows = max(1, buffer_bytes // (4 * self.n_features))
        label, keys = use_case.label.column, (use_case.events.time, use_case.events.id)
        self._days: list[Stretch] = []
        self._orders: list[Rows | None] = []  # of each day's rows as they are read
        labels = []
        for day in range(days):
            start, end = (min(span.start + timedelta(days=n), span.end) for n in (day, day + 1))
            end = end if span.awaited is None else min(end, span.awaited)
            stretch = self._reader.stretch(start, end, present=label)
            found, order = self._first_look(stretch, label, keys, use_case)
            if len(found):
                self._days.append(stretch)
                self._orders.append(order)
                labels.append(found)
        self.labels = np.concatenate(labels) if labels else label_array(pa.chunked_array([[]]), use_case.task)
        self._sizes = [len(day) for day in labels]
        self._chosen: list[Rows | None] = [None] * len(labels)  # of each day's rows in order
        self._counts = self._sizes
        everything = source.count_rows(filter=span.between(use_case.events.time, 0, days))
        self.unlabelled = everything - len(self.labels)
        self._what = f"{read_feature_table(folder).fingerprint} {self._names} {span} {days}"
        self._kept: ArrayExamples | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def arrays(self) -> Batch:
        if self._kept is not None:
            return self._kept.arrays()
        features, at = np.empty((len(self), self.n_features), np.float32), 0
        for found, _ in self._read(range(len(self._days))):
            features[at : at + len(found)] = found
            at += len(found)
        return features, self.labels

    def blocks(self) -> Iterator[Batch]:
        if (kept := self._in_buffer()) is not None:
            yield from kept.blocks()
            return
        for features, labels in self._read(range(len(self._days))):
            for start in range(0, len(labels), BLOCK_ROWS):
                yield features[start : start + BLOCK_ROWS], labels[start : start + BLOCK_ROWS]

    def batches(self, size: int, *, epoch: int, seed: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        if (kept := self._in_buffer()) is not None:
            yield from kept.batches(size, epoch=epoch, seed=seed, rank=rank, world=world)
            return
        rng = np.random.default_rng([seed, epoch])
        days = rng.permutation(len(self._days)).tolist()
        half = self._buffer_rows // 2
        # What is left after batches were given is less than half a buffer and a batch; then a day comes to it.
        room = half + max(size, half) + max(self._counts)
        features, labels = np.empty((room, self.n_features), np.float32), np.empty(room, self.labels.dtype)
        held, left = 0, len(self)
        for found, known in self._read(days):
            features[held : held + len(found)], labels[held : held + len(found)] = found, known
            held, left = held + len(found), left - len(found)
            del found
            if held < self._buffer_rows and left:
                continue
            order = rng.permutation(held)
            # Half of the buffer stays, so that the rows of a day meet those of days that are read later.
            out = (held - half) // size * size if left else held
            for start in range(0, out, size):
                rows = order[start : min(start + size, out)][rank::world]
                yield features[rows], labels[rows]
            stay = order[out:]
            held = len(stay)
            features[:held], labels[:held] = features[stay], labels[stay]

    def held_out(self, every: int) -> tuple[TableExamples, TableExamples]:
        rest, apart = copy.copy(self), copy.copy(self)
        held = np.arange(len(self)) % every == every - 1
        days = np.split(held, np.cumsum(self._counts)[:-1])
        for part, wanted in ((rest, [~day for day in days]), (apart, days)):
            rows = [np.flatnonzero(day).astype(np.int32) for day in wanted]
            part._chosen = [
                of if chosen is None else chosen[of] for of, chosen in zip(rows, self._chosen, strict=True)
            ]
            part._counts = [len(of) for of in rows]
            part.labels = self.labels[~held if part is rest else held]
            part._what += f" {'without' if part is rest else 'only'} each {every}th"
            part._kept = None
        return rest, apart

    def fingerprint(self) -> str:
        digest = hashlib.blake2b(self._what.encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()

    def _in_buffer(self) -> ArrayExamples | None:
        """All of it, if it fits."""
        if self._kept is None and len(self) <= self._buffer_rows:
            self._kept = ArrayExamples(*self.arrays())
        return self._kept

    def _first_look(
        self, stretch: Stretch, label: str, keys: tuple[str, str], use_case: UseCase
    ) -> tuple[NDArray[Any], Rows | None]:
        """The labels of a day in order of `keys`, and where its rows stand in the files."""
        parts = list(self._reader.read(stretch, [*keys, label]))
        if not parts:
            return np.empty(0), None
        rows = pa.concat_tables(parts)
        order = pc.sort_indices(rows, [(key, "ascending") for key in keys]).to_numpy().astype(np.int32)
        labels = label_array(rows[label], use_case.task)[order]
        return labels, None if (order == np.arange(len(order))).all() else order

    def _read(self, days: Sequence[int]) -> Iterator[Batch]:
        """The chosen rows of each of these days, in order; the next day is read meanwhile."""
        borders = np.cumsum([0, *self._counts])
        with ThreadPoolExecutor(1, thread_name_prefix="next-day") as ahead:
            coming = ahead.submit(self._features, days[0]) if len(days) else None
            for place, day in enumerate(days):
                assert coming is not None
                read = [coming.result()]
                coming = ahead.submit(self._features, days[place + 1]) if place + 1 < len(days) else None
                # Given away, not kept: else this day would stay in memory until the next is asked for.
                yield read.pop(), self.labels[borders[day] : borders[day + 1]]

    def _features(self, day: int) -> Floats:
        """The chosen rows of a day, in order."""
        features, at = np.empty((self._sizes[day], self.n_features), np.float32), 0
        for rows in self._reader.read(self._days[day], self._names):
            if (to := at + rows.num_rows) <= len(features):
                features[at:to] = feature_matrix(rows, self._names, self._folder)
            at = to
        if at != len(features):
            raise InputError("has changed while it was read", where=self._folder, todo="train again")
        order, chosen = self._orders[day], self._chosen[day]
        if chosen is not None:
            order = chosen if order is None else order[chosen]
        return features if order is None else features[order]
