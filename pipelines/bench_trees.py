"""What the benches of serving and of reasons take for a model: trees that learned a use case's published features.

Events are a simulated world's. The model learns from the earlier ones; the later ones are what it is asked about.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlops.bundle import Decisions, Golden, Schema, write_bundle
from mlops.contract import UseCase, load_dotted, load_use_case
from mlops.errors import ConfigError
from mlops.features import FeatureSet
from mlops.model import Model
from mlops.reasons import choose_reference
from mlops.settings import Settings
from mlops.signing import ensure_keys
from pipelines.canonical import read_events
from pipelines.kernel import features_of
from pipelines.simulate import simulate
from training.builders import boosted_classifier
from training.examples import ArrayExamples
from training.trainers import Place, trainer_for

__all__ = ["TREES", "WORLD", "Trees", "train_trees"]

WORLD = {"customers": 2_000, "terminals": 4_000, "days": 70}
TREES = 100
_LEARN = 0.7
_GOLDEN_ROWS = 16

Floats = NDArray[np.float32]


class Trees(msgspec.Struct, frozen=True, kw_only=True):
    """The model, and what it was made of.

    Fields:
        events: all, in the order of their times, which say that they are UTC. known: how many it learned from.
        labels: of the other events. rows, scores: their features, and what the model gives for them.
        model: the scikit-learn one. graph: the same as ONNX.
    """

    use_case: UseCase
    features: FeatureSet
    schema: Schema
    events: pa.Table
    known: int
    labels: NDArray[np.int8]
    rows: Floats
    scores: Floats
    model: Any
    graph: bytes

    def write(self, folder: Path, *, keys: Path, decisions: Decisions | None = None) -> str:
        """Write its bundle, signed with the pair in `keys`, which is made if there is none; return its digest."""
        ensure_keys(keys)
        return write_bundle(
            folder,
            keys=keys,
            model=self.graph,
            features=self.features,
            schema=self.schema,
            decisions=decisions,
            golden=Golden(
                features=self.rows[:_GOLDEN_ROWS].tolist(), scores=self.scores[:_GOLDEN_ROWS].tolist()
            ),
            reference=choose_reference(self.rows, self.scores).tolist(),
            card="# Trees for a bench",
            evaluation=b"{}",
            report="",
            manifest={
                "name": self.use_case.name,
                "candidate": "trees",
                "framework": "scikit-learn",
                "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "run_id": "",
            },
        )


def train_trees(settings: Settings, folder: Path, *, world: Mapping[str, Any] = WORLD) -> Trees:
    """Simulate a world into `folder`/world, compute the features, train.

    Args:
        settings: whose use case has a simulator, published features and events that have times.
        world: knobs of the simulated world.

    Raises:
        ConfigError: the use case has none of that.
    """
    use_case = load_use_case(settings.usecase)
    published: FeatureSet = load_dotted(f"{settings.usecase}.features:PUBLISHED")
    simulate(settings, world, folder / "world")
    events = _events(use_case, folder / "world")
    table = features_of(events, published, use_case.events)
    rows = np.column_stack([table[name].to_numpy() for name in published.names]).astype(np.float32)
    labels = table[use_case.label.column].cast(pa.int8()).to_numpy()
    known = int(len(rows) * _LEARN)
    model = boosted_classifier(seed=0, n_features=rows.shape[1], trees=TREES)
    fitted = trainer_for("scikit-learn")(
        lambda **_: model,
        {},
        ArrayExamples(rows[:known], labels[:known]),
        task=use_case.task,
        seed=0,
        place=Place(log=lambda name, value, step: None),
    )
    graph = fitted.export()
    ids = {c.name for c in use_case.events.columns if c.type == "id"}
    return Trees(
        use_case=use_case,
        features=published,
        schema=Schema(
            events=use_case.events,
            label=use_case.label,
            whole_number_ids=tuple(sorted(name for name in ids if pa.types.is_integer(events[name].type))),
        ),
        events=events,
        known=known,
        labels=labels[known:],
        rows=rows[known:],
        scores=Model(graph)(rows[known:]),
        model=model,
        graph=graph,
    )


def _events(use_case: UseCase, world: Path) -> pa.Table:
    schema = use_case.events
    if not schema.time:
        raise ConfigError("its events have no time", where=use_case.name)
    events = read_events([world], schema, use_case.label)
    at = events.column_names.index(schema.time)
    timed = events.set_column(at, schema.time, events[schema.time].cast(pa.timestamp("us", "UTC")))
    return timed.sort_by([(schema.time, "ascending"), (schema.id, "ascending")])
