"""Validation: rows that fit the schema become the event table, the others go to quarantine with the reason.

Every row that comes in is accounted for: in = good + quarantined + duplicates. Which of the rows about one event are
good is said in `pipelines.repeats`.

A delivery replaces the event table, or is merged into it. A process killed anywhere leaves the table as it was, or as
it is to be, and doing it again completes it. What was quarantined of a delivery lies in a folder of its own,
`batch=<id>`; the table says which batches it is made of.

A delivery that is not as the schema expects it as a whole is refused: then nothing is published but the report.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from mlops.errors import ExpectationError, MlopsError
from mlops.layout import Layout
from mlops.schema import EventSchema, Label
from mlops.storage import one_writer, publish_dir, write_json
from mlops.tables import Batch, write_batches, write_table_meta
from pipelines.checks import UnreadableColumn, check_rows, unreadable_columns
from pipelines.event_table import write_quarantine
from pipelines.expectations import Finding, judge, judge_freshness
from pipelines.held import Held, batch_id, file_digests, held_by, without
from pipelines.ingest import keep_batches, write_events
from pipelines.profile import Profile, profile_rows
from pipelines.report import Example, Outcome, ValidateResult
from pipelines.sources import event_files
from pipelines.spark import read_parquet, readable_errors

__all__ = ["ValidateResult", "validate"]

log = logging.getLogger(__name__)


def validate(
    spark: SparkSession,
    source: Path,
    target: Path,
    quarantine: Path,
    schema: EventSchema,
    label: Label,
    *,
    report: Path | None = None,
    as_of: datetime | None = None,
    force: bool = False,
    merge: bool = False,
    files: Sequence[Path] | None = None,
    called: str = "",
    layout: Layout | None = None,
) -> ValidateResult:
    """Read event files, write the event table and the quarantine, and replace what these held or add to it.

    Args:
        source: a Parquet or CSV file, or a folder of them.
        target: the event table.
        quarantine: Parquet with the columns reason, row (JSON) and source (the file's name).
        merge: add to what the table holds. Files whose content was taken before are passed over.
        files: only these of the source.
        called: what the result calls the source; its path unless given.
        layout: that of the files, if it is none of the schema's.
        report: where the result is written as JSON, also that of a delivery that is refused, or has nothing new: what
            was taken before stands in the table's batches.
        as_of: the moment that freshness is judged as of; it is not judged without.
        force: publish also what is not as expected; that it was done is logged.

    Raises:
        ExpectationError: the delivery is not as the schema expects it, or has not one good row.
        InputError: the source is not events: no file, another format, a column missing or of a wrong type.
        SetupError: the device is full.
    """
    started = time.monotonic()
    with one_writer(target.parent), readable_errors():
        held = held_by(target) if merge else None
        groups = event_files(source, schema, label, files, layout)
        digests = file_digests(groups)
        known = [path for path in digests if held is not None and digests[path] in held.taken]
        groups = without(groups, known)
        newest = _newest(held)
        if not groups:
            findings = judge_freshness(schema, newest, as_of)
            nothing = _nothing_new(called or str(source), len(known), findings, started)
            _record(nothing, report)
            if nothing.outcome.failed and not force:
                raise _refusal(nothing, source, (), report)
            return nothing
        checked = check_rows(spark, groups, schema, label, held)
        profile = profile_rows(checked.rows, schema)
        if profile.rows != checked.rows_in:
            raise MlopsError(
                f"{checked.rows_in} rows came in, {profile.rows} are accounted for", where=source
            )
        unreadable = unreadable_columns(spark, groups, schema, profile.reasons)
        findings = tuple(map(_finding, unreadable))
        if profile.good or not profile.about_known_events:
            days = held.table.days if held is not None else {}
            findings += judge(
                profile,
                schema,
                label,
                absent=checked.absent,
                history={day: part.rows for day, part in days.items()},
                newest=newest,
                as_of=as_of,
            )
        failed = _failed(findings)
        publish = profile.good + profile.about_known_events > 0 and (force or not failed)
        batch = Batch(
            id=batch_id(digests[path] for files in groups for path in files.paths),
            files={digests[path]: path.name for files in groups for path in files.paths},
            rows_in=checked.rows_in,
            good=profile.good + profile.labels,
            quarantined=profile.quarantined,
            duplicates=profile.duplicates,
            labels=profile.labels,
            taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        with publish_dir(quarantine / f"batch={batch.id}") as bad:
            if profile.reasons:
                write_quarantine(checked.rows, bad, schema)
            result = ValidateResult(
                source=called or str(source),
                layout=" and ".join(dict.fromkeys(files.layout.name for files in groups)),
                rows_in=batch.rows_in,
                good=batch.good,
                quarantined=batch.quarantined,
                duplicates=batch.duplicates,
                labels=batch.labels,
                passed_over=len(known),
                reasons=profile.reasons,
                examples=_examples(spark, bad) if profile.reasons else {},
                absent=checked.absent,
                first_event=profile.first.isoformat() if profile.first else "",
                last_event=profile.last.isoformat() if profile.last else "",
                findings=findings,
                outcome=Outcome(
                    published=publish,
                    forced=publish and bool(failed),
                    failed=failed if unreadable else _no_good_row(profile) or failed,
                ),
                seconds=round(time.monotonic() - started, 3),
            )
            if not publish:
                _record(result, report)
                raise _refusal(result, source, unreadable, report)
        batches = (*(held.batches if held is not None else ()), batch)
        with publish_dir(target) as events:
            table = write_events(spark, checked.rows, events, schema, label, profile, held)
            write_table_meta(events, table)
            write_batches(events, batches)
        keep_batches(quarantine, batches)
    result = msgspec.structs.replace(result, seconds=round(time.monotonic() - started, 3))
    _record(result, report)
    return result


def _failed(findings: Iterable[Finding]) -> tuple[str, ...]:
    return tuple(finding.text for finding in findings if finding.verdict == "failed")


def _newest(held: Held | None) -> datetime | None:
    return datetime.fromisoformat(held.table.last_event) if held and held.table.last_event else None


def _nothing_new(
    source: str, passed_over: int, findings: tuple[Finding, ...], started: float
) -> ValidateResult:
    return ValidateResult(
        source=source,
        layout="",
        rows_in=0,
        good=0,
        quarantined=0,
        duplicates=0,
        passed_over=passed_over,
        reasons={},
        examples={},
        absent=(),
        first_event="",
        last_event="",
        findings=findings,
        outcome=Outcome(
            published=False,
            forced=False,
            failed=_failed(findings),
        ),
        seconds=round(time.monotonic() - started, 3),
    )


def _finding(column: UnreadableColumn) -> Finding:
    return Finding(
        expectation=f"{column.column} can be read",
        observed=0.0,
        limit="at least 1",
        verdict="failed",
        text=f"column {column.column}: every value is {column.problem}, such as {column.example!r}",
    )


def _no_good_row(profile: Profile) -> tuple[str, ...]:
    if profile.good or profile.about_known_events:
        return ()
    most = max(profile.reasons, key=profile.reasons.__getitem__, default="")
    return (
        f"not one good row; most often {most} ({profile.reasons[most]} rows)"
        if profile.reasons
        else "no rows",
    )


def _examples(spark: SparkSession, quarantine: Path) -> dict[str, Example]:
    """The first row of each reason, in the order of files and rows as text."""
    first = (
        read_parquet(spark, quarantine).groupBy("reason").agg(F.min(F.struct("source", "row")).alias("first"))
    )
    return {r["reason"]: Example(row=r["first"]["row"], source=r["first"]["source"]) for r in first.collect()}


def _refusal(
    result: ValidateResult, source: Path, unreadable: Sequence[UnreadableColumn], report: Path | None
) -> ExpectationError:
    """Why a delivery is not published."""
    where = next((column.where for column in unreadable if column.where), source)
    what = "; ".join(result.outcome.failed)
    see = f"see {report}" if report else ""
    force = "--force publishes it all the same" if result.good else ""
    return ExpectationError(what, where=where, todo="; ".join(filter(None, (see, force))), report=report)


def _record(result: ValidateResult, report: Path | None) -> None:
    if report is not None:
        write_json(report, result)
    if result.outcome.forced:
        line = {
            "event": "validation forced",
            "source": result.source,
            "failed": result.outcome.failed,
            "good": result.good,
            "quarantined": result.quarantined,
        }
        log.warning(msgspec.json.encode(line).decode())
