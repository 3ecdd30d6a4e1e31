"""Batch scoring: any events that the use case can read, the champion's model, and no server.

Features are computed by the executor that computes them for training, over the home's event table and the given
events together; the model runs in Spark's workers, in ONNX Runtime as it does in a server; and the bundle's thresholds
decide. So an event gets here what a server answers that knows the same events and labels: features to the last bit,
and scores of trees, too. A network's differ by some 1e-6 with how many rows it is given at once, as in a server.

What repeats an event, of the file or of the event table, is scored once, and counted once in every window. Labels in
the given events are known once their delay has passed, as in training; those of the event table win.
"""

from __future__ import annotations

import shutil
import time
from datetime import datetime
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from mlops.bundle import Bundle, open_bundle
from mlops.deployment import bundle_path, read_deployment
from mlops.errors import ConfigError, InputError, IntegrityError, MlopsError
from mlops.layout import Layout
from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY
from mlops.storage import one_writer, publish_dir, write_json
from mlops.tables import NO_DAY, write_table_meta
from pipelines.checks import check_rows
from pipelines.days import write_days
from pipelines.event_table import REASON, ROW
from pipelines.features import compute_features
from pipelines.held import Held, held_by
from pipelines.history import table_files
from pipelines.ingest import write_events
from pipelines.profile import Profile, profile_rows
from pipelines.remote import shown
from pipelines.score_files import ASKED, FEATURES, Scoring
from pipelines.sources import FILE, event_files
from pipelines.spark import readable_errors, session
from pipelines.staged import current, delivered, fetched

__all__ = ["ScoreResult", "score"]

_META = "_scores.json"
_WORK = "_work"


class ScoreResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was scored, by what. `rows_in` rows were about `events` events; `version` is the registry's, if it has one.

    `decisions` counts them, where the bundle has thresholds. The same stands in `_scores.json` beside the scores.
    """

    rows_in: int
    events: int
    decisions: dict[str, int]
    model: str
    version: str | None
    bundle: str
    out: str
    seconds: float


def score(
    settings: Settings,
    source: str | Path,
    out: str | Path,
    *,
    bundle: Path | None = None,
    with_features: bool = False,
    layout: Layout | None = None,
) -> ScoreResult:
    """Score the events of `source` and write Parquet files into the folder `out`, all of them or none.

    Columns: event_id; event_time (where events have one); score, or prediction of a regression; decision (null without
    thresholds); model; version (null for a bundle that was never promoted); with features, a struct `features` of a
    double by name. Files hold a day or a part of one, and are sorted by (time, id).

    Args:
        source, out: paths or URIs; `out` is empty, or holds scores, which are replaced.
        bundle: the folder of another bundle than the champion's; it must be signed for the home's key.
        layout: that of the files, if it is none of the schema's.

    Raises:
        BundleError: the bundle is not what was signed, or its model does not run.
        ConfigError: there is no champion, or `out` holds other files.
        InputError: a row does not fit the bundle's schema, or there is none; or the features look back, and there is
            no event table.
        SetupError: the device is full.
    """
    started = time.monotonic()
    chosen, version = _chosen(settings, bundle)
    with fetched(source, layout.encoding if layout else "") as files, delivered(out) as target:
        _refuse_others(target)
        with one_writer(settings.home), publish_dir(target) as folder, readable_errors():
            spark, held, work = session(settings), _history(settings, chosen), folder / _WORK
            rows, profile = _read(spark, files, chosen, held, layout, shown(str(source)))
            asked = _write_features(spark, rows, profile, chosen, held, work)
            scored = Scoring(
                bundle=chosen, version=version, with_features=with_features, work=work, folder=folder
            ).run(spark)
            if scored.events != asked:
                raise MlopsError(
                    f"{asked} events were asked about, {scored.events} were scored", where=source
                )
            shutil.rmtree(work)
            result = ScoreResult(
                rows_in=profile.rows,
                events=scored.events,
                decisions=scored.decisions,
                model=chosen.manifest.name,
                version=version,
                bundle=chosen.digest,
                out=shown(str(out)),
                seconds=round(time.monotonic() - started, 3),
            )
            write_json(folder / _META, result)
    return result


def _chosen(settings: Settings, bundle: Path | None) -> tuple[Bundle, str | None]:
    """The bundle to score with, checked, and its version, if it is or was the champion's."""
    deployment = read_deployment(settings.pointer)
    if deployment is None and bundle is None:
        raise ConfigError(
            "no champion to score with",
            where=settings.pointer,
            todo="promote one: mlops run, mlops promote; or name a bundle: --bundle",
        )
    public_key = settings.keys / PUBLIC_KEY
    if bundle is not None:
        opened = open_bundle(bundle, public_key=public_key)
        deployed = (deployment.champion, deployment.previous) if deployment else ()
        return opened, next((d.version for d in deployed if d and d.digest == opened.digest), None)
    assert deployment is not None
    champion = deployment.champion
    opened = open_bundle(bundle_path(settings.pointer, champion), public_key=public_key)
    if opened.digest != champion.digest:
        raise IntegrityError(f"has the digest {opened.digest}, not {champion.digest}", where=opened.path)
    return opened, champion.version


def _refuse_others(target: Path) -> None:
    """Raise where something else would be replaced."""
    if target.is_dir() and ((target / _META).is_file() or not any(target.iterdir())):
        return
    if target.exists():
        raise ConfigError(
            "holds something else", where=target, todo="name a folder that is empty, new, or holds scores"
        )


def _history(settings: Settings, bundle: Bundle) -> Held | None:
    """The home's event table, where features look back on it."""
    if not bundle.features.horizon_us:
        return None
    events = current(settings.events, settings.events_uri)
    held = held_by(events)
    if held is None:
        raise InputError(
            "no such table, and features look back on it", where=events, todo="run mlops validate first"
        )
    if other := set(bundle.schema.whole_number_ids) ^ set(held.table.whole_number_ids):
        raise InputError(
            f"{min(other)}: the model's ids were of another kind, whole numbers or text",
            where=events,
            todo="score with a bundle that was trained on this table",
        )
    return held


def _read(
    spark: SparkSession,
    files: Path,
    bundle: Bundle,
    held: Held | None,
    layout: Layout | None,
    called: str,
) -> tuple[DataFrame, Profile]:
    """The rows of the files with a verdict each, all of them fine, and what they hold."""
    schema, label = bundle.schema.events, bundle.schema.label
    rows = check_rows(spark, event_files(files, schema, label, layout=layout), schema, label, held).rows
    profile = profile_rows(rows, schema)
    if not profile.rows:
        raise InputError("no rows", where=called)
    if profile.reasons:
        most = max(profile.reasons, key=profile.reasons.__getitem__)
        bad = rows.where(F.col(REASON) == most).orderBy(FILE, ROW).select(FILE, ROW).first()
        such = f", such as {bad[ROW]} in {bad[FILE]}" if bad is not None and bad[ROW] else ""
        raise InputError(
            f"{profile.quarantined} of {profile.rows} rows cannot be scored; most often {most}{such}",
            where=called,
            todo="mend them or leave them out; mlops validate sets such rows apart",
        )
    whole = bundle.schema.whole_number_ids
    if text := set(whole) - set(profile.whole_number_ids):
        raise InputError(f"{min(text)}: not all ids are whole numbers, as the model's were", where=called)
    return rows, msgspec.structs.replace(profile, whole_number_ids=whole)


def _write_features(
    spark: SparkSession, rows: DataFrame, profile: Profile, bundle: Bundle, held: Held | None, work: Path
) -> int:
    """Write the ids that are asked about, by day, and the features of all events of these days; return how many ids."""
    schema, label = bundle.schema.events, bundle.schema.label
    asked, new = work / ASKED, work / "events"
    asked.mkdir(parents=True)
    own = [name for name in (schema.id, schema.time) if name]
    write_days(rows.select(*own).dropDuplicates([schema.id]), asked, time=schema.time, id=schema.id)
    tables = [] if held is None else [held.folder]
    if profile.good:
        new.mkdir()
        write_table_meta(new, write_events(spark, rows, new, schema, label, profile))
        tables.append(new)
    first = min(folder.name.partition("=")[2] for folder in asked.iterdir())
    compute_features(
        spark,
        tables,
        work / FEATURES,
        bundle.features,
        schema,
        label,
        since=None if first == NO_DAY else datetime.fromisoformat(first),
    )
    return sum(pq.read_metadata(file).num_rows for file in table_files(asked))
