"""A delivery of events as a whole: is it what the schema expects?"""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Literal

import msgspec

from mlops.expectations import Freshness, NullShare, QuarantinedShare, TrueShare, Volume
from mlops.schema import EventSchema, Label
from pipelines.profile import Profile

__all__ = ["Finding", "Verdict", "judge", "judge_freshness"]

Verdict = Literal["passed", "failed", "not judged"]
_FEW = 100  # good rows; in fewer a column that may be null is null throughout by chance


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One expectation about a delivery: what was observed, and what the limit is.

    `observed` is a number of rows, a share or days, as the limit is; None where it was not judged.
    """

    expectation: str
    observed: float | None
    limit: str
    verdict: Verdict
    text: str


def judge(
    profile: Profile,
    schema: EventSchema,
    label: Label,
    *,
    absent: tuple[str, ...] = (),
    history: Mapping[str, int] | None = None,
    newest: datetime | None = None,
    as_of: datetime | None = None,
) -> tuple[Finding, ...]:
    """A verdict on each expectation of the schema, and on each column that has no value at all.

    Args:
        absent: columns that no file has.
        history: the rows of each day that the event table holds already; the delivery's rows are added to them.
        newest: the newest event that the event table holds already: what is late does not make that older.
        as_of: the moment that freshness is judged as of; None judges none.
    """
    findings = list(_empty_columns(profile, schema, label, absent))
    for expectation in schema.expectations:
        if isinstance(expectation, Freshness):
            last = max((moment for moment in (profile.last, newest) if moment), default=None)
            findings.append(_freshness(expectation, last, as_of))
        elif isinstance(expectation, Volume):
            findings += _volume(expectation, profile, history or {})
        elif isinstance(expectation, NullShare):
            if expectation.column not in absent:
                findings.append(_null_share(expectation, profile))
        elif isinstance(expectation, TrueShare):
            findings.append(_true_share(expectation, profile))
        else:
            findings.append(_quarantined_share(expectation, profile))
    return tuple(findings)


def _empty_columns(
    profile: Profile, schema: EventSchema, label: Label, absent: tuple[str, ...]
) -> Iterator[Finding]:
    """A column that may lack values, but not all of them. Labels are awaited until they are due."""
    for column in schema.columns:
        if not column.nullable or column.optional or column.name in absent:
            continue
        if column.name == label.column and not _labels_due(profile, label):
            continue
        known = profile.known[column.name]
        verdict: Verdict = "not judged" if profile.good < _FEW else "passed" if known else "failed"
        yield Finding(
            expectation=f"values in {column.name}",
            observed=float(known) if verdict != "not judged" else None,
            limit="at least 1",
            verdict=verdict,
            text=f"{column.name} is null in all {profile.good:,} good rows"
            if not known
            else f"{column.name} has a value in {known:,} of {profile.good:,} good rows",
        )


def _labels_due(profile: Profile, label: Label) -> bool:
    if profile.first is None or profile.last is None:
        return label.delay_days == 0
    return profile.last - profile.first > timedelta(days=label.delay_days)


def judge_freshness(
    schema: EventSchema, newest: datetime | None, as_of: datetime | None
) -> tuple[Finding, ...]:
    """A verdict on freshness alone, where a delivery has nothing new: the feed may have stopped."""
    return tuple(
        _freshness(expectation, newest, as_of)
        for expectation in schema.expectations
        if isinstance(expectation, Freshness)
    )


def _freshness(expectation: Freshness, newest: datetime | None, as_of: datetime | None) -> Finding:
    age = None if as_of is None or newest is None else (as_of - newest) / timedelta(days=1)
    fresh = age is None or age <= expectation.max_age_days
    text = "not judged without a day to judge as of" if as_of is None else "the events have no time"
    if age is not None and newest is not None:
        text = f"the newest event, of {newest:%Y-%m-%d %H:%M}, is {age:.1f} days old"
    return Finding(
        expectation="freshness",
        observed=age,
        limit=f"at most {expectation.max_age_days:g} days",
        verdict="not judged" if age is None else "passed" if fresh else "failed",
        text=text,
    )


def _volume(expectation: Volume, profile: Profile, history: Mapping[str, int]) -> Iterator[Finding]:
    yield Finding(
        expectation="rows",
        observed=float(profile.good),
        limit=f"at least {expectation.min_rows:,}",
        verdict="passed" if profile.good >= expectation.min_rows else "failed",
        text=f"{profile.good:,} good rows",
    )
    limit = f"a fall of less than {_percent(expectation.max_fall)}"
    fallen = sorted(_falls(expectation, profile.days, history))
    if not fallen:
        text = f"no day has {expectation.min_days} others with a median of {expectation.min_median:,} rows or more"
        yield Finding(expectation="rows a day", observed=None, limit=limit, verdict="not judged", text=text)
        return
    fall, day, rows, median = fallen[-1]
    failed = [day for fall, day, *_ in fallen if fall >= expectation.max_fall]
    text = f"{day} has {rows:,} rows, and the median of the other days is {median:,.0f}"
    if len(failed) > 1:
        text += f"; {len(failed)} days fell so far, the first of them {min(failed)}"
    yield Finding(
        expectation="rows a day",
        observed=round(fall, 4),
        limit=limit,
        verdict="failed" if failed else "passed",
        text=text,
    )


def _falls(
    expectation: Volume, days: Mapping[str, int], history: Mapping[str, int]
) -> Iterator[tuple[float, str, int, float]]:
    """(fall, day, rows, median of the other days) of each day that the delivery spans; one without rows has 0."""
    if not days:
        return
    total = {day: days.get(day, 0) + history.get(day, 0) for day in {*days, *history}}
    first, last = (date.fromisoformat(day) for day in (min(days), max(days)))
    ordered = sorted(total.values())
    for offset in range((last - first).days + 1):
        day = (first + timedelta(days=offset)).isoformat()
        rows = total.get(day, 0)
        others = len(ordered) - (day in total)
        if others < expectation.min_days:
            continue
        median = _median_without(ordered, rows if day in total else None)
        if median >= expectation.min_median:
            yield 1 - rows / median, day, rows, median


def _median_without(ordered: list[int], value: int | None) -> float:
    """The median of sorted numbers, one of them left out."""
    if value is None:
        return statistics.median(ordered)
    place = bisect_left(ordered, value)
    rest = len(ordered) - 1

    def at(index: int) -> int:
        return ordered[index if index < place else index + 1]

    return float(at(rest // 2)) if rest % 2 else (at(rest // 2 - 1) + at(rest // 2)) / 2


def _null_share(expectation: NullShare, profile: Profile) -> Finding:
    share = 1 - profile.known[expectation.column] / profile.good if profile.good else 0.0
    return _share(
        f"nulls in {expectation.column}",
        share if profile.good >= expectation.min_rows else None,
        0.0,
        expectation.at_most,
        f"{expectation.column} is null in {_percent(share)} of the good rows",
    )


def _true_share(expectation: TrueShare, profile: Profile) -> Finding:
    known = profile.known[expectation.column]
    share = profile.true[expectation.column] / known if known else 0.0
    return _share(
        f"share of {expectation.column}",
        share if known >= expectation.min_rows else None,
        expectation.at_least,
        expectation.at_most,
        f"{expectation.column} is true in {_percent(share)} of {known:,} known values",
    )


def _quarantined_share(expectation: QuarantinedShare, profile: Profile) -> Finding:
    share = profile.quarantined / profile.rows if profile.rows else 0.0
    most = max(profile.reasons, key=profile.reasons.__getitem__, default="")
    return _share(
        "quarantined",
        share if profile.rows >= expectation.min_rows else None,
        0.0,
        expectation.at_most,
        f"{_percent(share)} of all rows are quarantined" + (f", most often {most}" if most else ""),
    )


def _share(name: str, share: float | None, low: float, high: float, text: str) -> Finding:
    return Finding(
        expectation=name,
        observed=None if share is None else round(share, 6),
        limit=f"{_percent(low)} to {_percent(high)}" if low else f"at most {_percent(high)}",
        verdict="not judged" if share is None else "passed" if low <= share <= high else "failed",
        text=text if share is not None else f"{text}; too few rows to judge",
    )


def _percent(share: float) -> str:
    return f"{share * 100:.4g} %"
