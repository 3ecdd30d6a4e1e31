"""The lifecycle's steps in their order: from events to a champion that serving follows.

Each step is a plain function of settings, paths and numbers, and safe to run twice. Engines run these functions and
no others. What imports a heavy framework runs in worker processes, so that one step's memory is not the next one's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path

import msgspec
from pyspark.sql import SparkSession

from mlops.contract import Effort
from mlops.deployment import Deployment, bundle_path, read_deployment
from mlops.errors import InputError, MlopsError, SetupError
from mlops.home import claim, use_case_of
from mlops.layout import Layout
from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY
from mlops.storage import one_writer, write_json
from mlops.tables import read_event_table, read_feature_table
from pipelines import features, incremental, spark, validate
from pipelines.backfill import BackfillResult, backfill
from pipelines.conclusion import conclude
from pipelines.engine import Engine
from pipelines.release import RELEASE, Release
from pipelines.remote import shown
from pipelines.simulate import simulate
from pipelines.staged import current, fetched, published
from pipelines.training_day import default_training_day
from pipelines.training_plan import TrainingPlan, candidates, plan
from pipelines.watching import monitor_served as monitor
from pipelines.workers import workers
from training import gate, registry
from training.gate import Verdict
from training.results import TrainResult, TrainSpec
from training.tracking import prepare_tracking
from training.train import keys_to_sign_with, train_candidate

__all__ = [
    "RELEASE",
    "Release",
    "RunResult",
    "TrainingPlan",
    "candidates",
    "compute_features",
    "conclude",
    "default_training_day",
    "fill_store",
    "ingest",
    "judge",
    "monitor",
    "plan",
    "promote",
    "register",
    "release",
    "run",
    "simulate",
    "those_trained",
    "train",
    "train_one",
    "update_features",
    "validate_events",
]

_LOG = logging.getLogger(__name__)


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `mlops run` did."""

    home: Path
    validated: validate.ValidateResult
    candidates: tuple[TrainResult, ...]
    release: Release


def validate_events(
    settings: Settings,
    source: str | Path,
    *,
    as_of: date | None = None,
    force: bool = False,
    merge: bool = False,
    layout: Layout | None = None,
) -> validate.ValidateResult:
    """Check `source`, a path or URI, against the use case's schema; good rows become the event table.

    The report is `validation.json` in the home. Freshness is judged as of the end of the day `as_of`, if it is given.

    Args:
        merge: add the good rows to the table, instead of replacing what it holds.
        layout: that of the files, if it is none of the use case's.
    """
    use_case = use_case_of(settings)
    with (
        fetched(source, layout.encoding if layout else "") as files,
        published(settings.events, settings.events_uri) as events,
        published(settings.quarantine, settings.quarantine_uri) as quarantine,
    ):
        found = validate.validate(
            spark.session(settings),
            files,
            events,
            quarantine,
            use_case.events,
            use_case.label,
            report=settings.validation,
            as_of=None if as_of is None else datetime.combine(as_of + timedelta(days=1), time.min, UTC),
            force=force,
            merge=merge,
            called=shown(str(source)),
            layout=layout,
        )
    claim(settings)
    return found


def ingest(
    settings: Settings,
    source: str | Path,
    *,
    as_of: date | None = None,
    force: bool = False,
    layout: Layout | None = None,
) -> validate.ValidateResult:
    """Merge the good rows of `source` into the event table; files that it has taken before are passed over."""
    return validate_events(settings, source, as_of=as_of, force=force, merge=True, layout=layout)


def compute_features(
    settings: Settings,
    *,
    events: Sequence[Path] = (),
    labels: Path | None = None,
    target: Path | None = None,
    since: datetime | None = None,
) -> features.FeaturesResult:
    """Compute the feature table of `events`, which are the home's event table by default.

    It waits for who is writing the home's events, and others wait for it.
    """
    use_case = use_case_of(settings)
    with (
        one_writer(settings.home),
        nullcontext(target) if target else published(settings.features, settings.features_uri) as table,
    ):
        tables = list(events) or [current(settings.events, settings.events_uri)]
        return features.compute_features(
            _session_for(settings, tables),
            tables,
            table,
            use_case.features,
            use_case.events,
            use_case.label,
            labels=labels,
            since=since,
        )


def update_features(settings: Settings) -> features.FeaturesResult | incremental.UpdateResult:
    """Compute the features of the days that something new touches; of all, where the table cannot be kept."""
    use_case = use_case_of(settings)
    declared, schema, label = use_case.features, use_case.events, use_case.label
    with one_writer(settings.home), published(settings.features, settings.features_uri) as table:
        own = current(settings.events, settings.events_uri)
        if incremental.can_update(own, table, declared, schema):
            return incremental.update_features(own, table, declared, schema, label)
        session = _session_for(settings, [own])
        return features.compute_features(session, [own], table, declared, schema, label)


def _session_for(settings: Settings, tables: Sequence[Path]) -> SparkSession:
    """A session, if the event tables are there: a cluster takes a minute to start, or has to be paid."""
    for table in tables:
        read_event_table(table)
    return spark.session(settings)


def train_one(
    settings: Settings,
    candidate: str,
    first_day: date | None,
    *,
    table: Path | None = None,
    fingerprint: str = "",
    seed: int = 0,
    effort: Effort = "quick",
) -> TrainResult:
    """Train one candidate, in this process: see `train`, which trains all, and for what is raised.

    Args:
        fingerprint: of the feature table to train on; an InputError if it is another one by now, or becomes one while
            it is read.
    """
    table = _trainable(settings, table)
    return train_candidate(_spec(settings, candidate, first_day, table, seed, effort, fingerprint))


def train(
    settings: Settings,
    first_day: date | None,
    *,
    pool: Executor,
    table: Path | None = None,
    seed: int = 0,
    effort: Effort = "quick",
    only: Sequence[str] = (),
) -> tuple[TrainResult, ...]:
    """Train the use case's candidates, each in a worker process, on the days from `first_day`.

    Where the split is at random there is no first day. A candidate that cannot be trained is left out, with a warning.

    Args:
        table: the feature table, the home's own unless given.
        effort: how long to look for good parameters, and which candidates are worth it.
        only: train these candidates, whatever effort they are for.

    Raises:
        ConfigError: no such candidate, or no key pair to sign with.
        InputError: the home's features were computed from other events than it holds now.
        MlopsError: as for `those_trained`.
    """
    table = _trainable(settings, table)
    names = candidates(settings, effort=effort, only=only)
    keys_to_sign_with(settings)  # before workers start, which takes a while
    prepare_tracking(settings, use_case_of(settings).name)
    fingerprint = read_feature_table(table).fingerprint  # all on the same table
    training = {
        name: pool.submit(train_candidate, _spec(settings, name, first_day, table, seed, effort, fingerprint))
        for name in names
    }
    return those_trained({name: future.result for name, future in training.items()})


def those_trained(outcomes: Mapping[str, Callable[[], TrainResult]]) -> tuple[TrainResult, ...]:
    """What came of the candidates, each by what waits for it. One that cannot be trained is left out, with a warning.

    Raises:
        SetupError: a candidate lacked something of this machine, which says nothing against the candidate.
        MlopsError: none can be trained; that of the first candidate.
    """
    results, failures = [], {}
    for name, outcome in outcomes.items():
        try:
            results.append(outcome())
        except SetupError:
            raise
        except MlopsError as error:
            failures[name] = error
    if not results:
        raise next(iter(failures.values()))
    for name, failure in failures.items():
        _LOG.warning("candidate %s was left out: %s", name, failure)
    return tuple(results)


def _trainable(settings: Settings, table: Path | None) -> Path:
    """The feature table to train on: the one given, or the home's, if it is that of the home's events."""
    if table is not None:
        return table
    table = current(settings.features, settings.features_uri)
    events = current(settings.events, settings.events_uri)
    if read_event_table(events).fingerprint not in read_feature_table(table).events:
        raise InputError(
            "were computed from other events", where=settings.features, todo="run mlops features"
        )
    return table


def _spec(
    settings: Settings,
    candidate: str,
    first_day: date | None,
    table: Path,
    seed: int,
    effort: Effort,
    fingerprint: str,
) -> TrainSpec:
    return TrainSpec(
        settings=settings,
        candidate=candidate,
        features=table,
        first_day=first_day.isoformat() if first_day else "",
        seed=seed,
        out=settings.bundles,
        effort=effort,
        fingerprint=fingerprint,
    )


def judge(settings: Settings, result: TrainResult, *, table: Path | None = None) -> Verdict:
    """Hold a candidate against the gate, and against the champion on the same events, in this process.

    Raises:
        BundleError: a bundle is not what was signed.
        InputError: the feature table is not the one that the candidate was trained and tested on.
    """
    return _judge(settings, table)(result)


def _judge(settings: Settings, table: Path | None) -> Callable[[TrainResult], Verdict]:
    deployment = read_deployment(settings.pointer)
    return partial(
        gate.judge,
        use_case=use_case_of(settings),
        champion=bundle_path(settings.pointer, deployment.champion) if deployment else None,
        features=table or current(settings.features, settings.features_uri),
        public_key=settings.keys / PUBLIC_KEY,
    )


def register(settings: Settings, results: Sequence[TrainResult], verdicts: Sequence[Verdict]) -> Release:
    """Enter all candidates into the registry, each with the gate's verdict on it, in the same order.

    The best that it admitted becomes the challenger; promotion is another step. If it admitted none there is no
    challenger: an earlier one may have been judged against another champion. The verdicts are in `release.json` too.
    """
    candidate = version = None
    ranked = sorted(zip(results, verdicts, strict=True), key=lambda pair: pair[0].figures.rank)
    for result, verdict in ranked:
        entry = registry.register(settings, result, verdict)
        if verdict.admitted:
            candidate, version = result.name, entry
    if version is None:
        registry.withdraw_challenger(
            settings, why="the gate admitted none of the candidates that came after it"
        )
    outcome = Release(
        verdicts={verdict.candidate: verdict for _, verdict in ranked}, candidate=candidate, version=version
    )
    write_json(settings.home / RELEASE, outcome)
    return outcome


def release(
    settings: Settings, results: Sequence[TrainResult], *, pool: Executor, table: Path | None = None
) -> Release:
    """Send each candidate through the gate, in a worker process, and register all: see `judge` and `register`."""
    return register(settings, results, list(pool.map(_judge(settings, table), results)))


def fill_store(settings: Settings, version: str) -> BackfillResult:
    """Give the online store the history that this version's features look back on; what it has already stays."""
    bundle = registry.bundle_of(settings, version)
    events = current(settings.events, settings.events_uri)
    return backfill([events], settings.store_uri, bundle.features, bundle.schema)


def promote(settings: Settings, version: str, *, why: str = "the gate admitted it") -> Deployment:
    """Make a version the champion: move its alias, then the pointer that serving follows."""
    return registry.promote(settings, version, why=why)


def run(
    engine: Engine,
    settings: Settings,
    source: str | Path,
    *,
    train_from: date | None = None,
    seed: int = 0,
    effort: Effort = "quick",
    as_of: date | None = None,
    force: bool = False,
    layout: Layout | None = None,
) -> RunResult:
    """From a file of events to a champion that `mlops serve` serves, or to the reasons why there is none."""
    with workers() as pool:
        validated = engine.run(
            "validate", validate_events, settings, source, as_of=as_of, force=force, layout=layout
        )
        first_day = train_from or default_training_day(settings)
        engine.run("features", compute_features, settings)
        results = engine.run("train", train, settings, first_day, pool=pool, seed=seed, effort=effort)
        outcome = engine.run("gate and registry", release, settings, results, pool=pool)
        if outcome.version is not None:
            engine.run("backfill", fill_store, settings, outcome.version)
            engine.run("promote", promote, settings, outcome.version)
    return RunResult(home=settings.home, validated=validated, candidates=results, release=outcome)
