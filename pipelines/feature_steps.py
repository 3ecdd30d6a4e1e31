"""Steps that look into the features of a home: whether they know the future, and where one event's come from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from mlops.bundle import Bundle, Schema, open_bundle
from mlops.deployment import read_deployment
from mlops.errors import InputError
from mlops.home import use_case_of
from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY
from mlops.storage import is_remote, local_path
from mlops.tables import read_event_table, read_feature_table
from pipelines import explain as explaining
from pipelines import point_in_time
from pipelines.archive import counting, logged_decisions, reading
from pipelines.explain_online import StoreView
from pipelines.history import event_dataset
from pipelines.staged import current

__all__ = ["LeakCheck", "check_point_in_time", "explain"]

_SAMPLE = 200


class LeakCheck(msgspec.Struct, frozen=True, kw_only=True):
    """How many events were checked, how often each feature knew the future, and where, at most ten times."""

    events_checked: int
    features_checked: int
    leaking: dict[str, int]
    examples: tuple[point_in_time.Leak, ...]


def check_point_in_time(settings: Settings, *, sample: int = _SAMPLE, seed: int = 0) -> LeakCheck:
    """Compute features of a sample of events again, from what was known when each of them happened.

    Raises:
        InputError: there is no feature table, or it was computed from other events or definitions than there are now.
    """
    use_case = use_case_of(settings)
    schema, declared = use_case.events, use_case.features
    events = current(settings.events, settings.events_uri)
    table = current(settings.features, settings.features_uri)
    held = read_feature_table(table)
    if held.features != declared or read_event_table(events).fingerprint not in held.events:
        raise InputError(
            "was computed from other events or definitions", where=table, todo="run mlops features"
        )
    history = event_dataset(events, schema).to_table()
    places = np.random.default_rng(seed).choice(len(history), min(sample, len(history)), replace=False)
    chosen = pc.take(history[schema.id], pa.array(np.sort(places)))
    values = ds.dataset(table, format="parquet").to_table(
        [schema.id, *(name for name in declared.names if name != schema.id)],
        filter=ds.field(schema.id).isin(chosen.combine_chunks()),
    )
    leaks = point_in_time.find_leaks(history, values, declared, schema, use_case.label)
    return LeakCheck(
        events_checked=len(values),
        features_checked=len(declared.names),
        leaking=dict(Counter(leak.feature for leak in leaks)),
        examples=tuple(leaks[:10]),
    )


def explain(settings: Settings, event_id: str) -> explaining.Explanation:
    """Explain one event's features, from all places of the home where they are.

    Raises:
        BundleError: the bundle that answered is not what was signed.
        InputError: no such event.
    """
    use_case = use_case_of(settings)
    events = current(settings.events, settings.events_uri)
    features = current(settings.features, settings.features_uri)
    numbers = read_event_table(events).whole_number_ids
    schema = Schema(events=use_case.events, label=use_case.label, whole_number_ids=numbers)
    there = is_remote(settings.store_uri) or local_path(settings.store_uri, base=Path()).is_dir()
    deployment = read_deployment(settings.pointer)
    asked = _promoted(settings, deployment.champion.digest).features if deployment else use_case.features
    return explaining.explain(
        events,
        event_id,
        use_case,
        features=features if features.exists() else None,
        served=_served(settings, event_id) if settings.decisions.exists() else None,
        ask_store=StoreView(settings.store_uri, asked, schema) if there else None,
    )


def _served(settings: Settings, event_id: str) -> dict[str, float] | None:
    """The features in the decision about an event that counts, by the names that its bundle has for them."""
    with reading(settings.decisions) as manifest:
        decision = counting(logged_decisions(settings.decisions, manifest, event_id=event_id))
    if decision is None:
        return None
    return dict(zip(_promoted(settings, decision.bundle).features.names, decision.features, strict=True))


def _promoted(settings: Settings, digest: str) -> Bundle:
    """A bundle that was the champion once: promotion left it beside the pointer."""
    return open_bundle(settings.pointer.parent / "bundles" / digest, public_key=settings.keys / PUBLIC_KEY)
