"""What the gate judges by: a candidate's run and bundle, its scores of the test events, and the champion's."""

from __future__ import annotations

import hashlib
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mlops.bundle import Bundle, open_bundle
from mlops.contract import UseCase
from mlops.errors import BundleError, InputError
from mlops.model import Floats, Model
from mlops.policy import Gate, Split
from mlops.slices import SliceRows, cut
from mlops.tables import read_feature_table
from training.dataset import Dataset, awaited_from, load_dataset
from training.results import TrainResult
from training.slicing import columns_of
from training.tasks import Compared, task_for

__all__ = ["Champion", "Evidence", "gather"]


class Champion(msgspec.Struct, frozen=True, kw_only=True):
    """The champion on the candidate's test events.

    Fields:
        digest: of its bundle.
        trained_until: its last day of training, ISO date; empty where events have no time.
        compared: its headline figure, and whether the candidate is better.
        scores: [n].
        data, rows: its features' data set, and where the events stand in it [n].
        slices: parts of the events, as masks [n].
    """

    digest: str
    trained_until: str
    compared: Compared
    scores: Floats
    data: Dataset
    rows: NDArray[np.int64]
    slices: tuple[SliceRows, ...]


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules see.

    Fields:
        labels, scores: of the test events [n], the candidate's.
        bundle: the candidate's, verified.
        newest: the last day of the feature table whose labels are due; None where events have no time.
        champion: None if nothing was ever promoted.
    """

    result: TrainResult
    use_case: UseCase
    labels: NDArray[Any]
    scores: Floats
    bundle: Bundle
    newest: date | None
    champion: Champion | None = None

    @property
    def gate(self) -> Gate:
        return self.use_case.policy.gate


def gather(
    result: TrainResult, use_case: UseCase, *, champion: Path | None, features: Path, public_key: Path
) -> Evidence:
    """The evidence on a trained candidate.

    Args:
        champion: the champion's bundle, or None.
        features: the feature table that the candidate was tested on; it must hold the champion's features as well.
        public_key: verifies both bundles.

    Raises:
        BundleError: a bundle cannot be read, is not what was signed, or is not that of this run.
        InputError: the feature table is not that one, or does not hold the champion's features.
    """
    _expect(features, result.data_fingerprint)
    own = open_bundle(result.bundle, public_key=public_key)
    content = result.evaluation.read_bytes()
    if own.digest != result.digest or hashlib.sha256(content).hexdigest() != result.evaluation_digest:
        raise BundleError(
            "is not what this run wrote: another training has replaced it",
            where=result.bundle.parent,
            todo="train again, one training a home at a time",
        )
    evaluation = pq.read_table(pa.BufferReader(content), columns=["id", "label", "score"])
    ids, labels, scores = (evaluation[name].to_numpy() for name in ("id", "label", "score"))
    held = None
    if champion is not None:
        bundle = open_bundle(champion, public_key=public_key)
        held = _champion(bundle, result, use_case, features, ids, labels, scores)
    newest = _newest(features, use_case)
    _expect(features, result.data_fingerprint)
    return Evidence(
        result=result,
        use_case=use_case,
        labels=labels,
        scores=scores,
        bundle=own,
        newest=newest,
        champion=held,
    )


def _expect(features: Path, fingerprint: str) -> None:
    if fingerprint and read_feature_table(features).fingerprint != fingerprint:
        raise InputError(
            "is not, or no longer, the table that the candidate was trained and tested on",
            where=features,
            todo="begin a new run, and let no other change the features meanwhile",
        )


def _champion(
    bundle: Bundle,
    result: TrainResult,
    use_case: UseCase,
    features: Path,
    ids: NDArray[Any],
    labels: NDArray[Any],
    scores: Floats,
) -> Champion:
    split, task, days = use_case.policy.split, use_case.task, {}
    if isinstance(split, Split):
        days = {"days": split.days, "skip_days": split.train_days + split.delay_days}
    data = load_dataset(features, use_case, first_day=result.first_day, features=bundle.features, **days)
    rows = _rows_of(ids, data.ids, features)
    theirs = Model(bundle.model)(data.features[rows])
    compared = task_for(task).compare(
        result.figures, labels, scores, theirs, data, rows, use_case.policy.gate, seed=result.seed
    )
    parts = cut(
        use_case.slices,
        columns_of(data, rows),
        positive=labels == 1 if task == "classification" else None,
        details=use_case.label.details,
    )
    return Champion(
        digest=bundle.digest,
        trained_until=bundle.manifest.trained_until,
        compared=compared,
        scores=theirs,
        data=data,
        rows=rows,
        slices=tuple(parts),
    )


def _rows_of(ids: NDArray[Any], held: NDArray[Any], features: Path) -> NDArray[np.int64]:
    """Where `ids` stand in `held`."""
    order = np.argsort(held, kind="stable")
    place = np.minimum(np.searchsorted(held, ids, sorter=order), len(held) - 1)
    rows: NDArray[np.int64] = order[place]
    if missing := int((held[rows] != ids).sum()):
        raise InputError(
            f"{missing:,} events of the evaluation are not in it",
            where=features,
            todo="judge on the feature table that the candidate was tested on",
        )
    return rows


def _newest(features: Path, use_case: UseCase) -> date | None:
    time, label = use_case.events.time, use_case.label
    if not time:
        return None
    held = ds.dataset(features, format="parquet").to_table([time, label.column])
    awaited = awaited_from(held[time], held[label.column], label.delay_days)
    last: datetime = awaited - timedelta(days=1) if awaited else pc.max(held[time]).as_py()
    return last.date()
