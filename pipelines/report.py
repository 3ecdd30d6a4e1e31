"""What validation found: written as `validation.json` beside the tables, and shown as a table on a terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mlops.errors import ExpectationError
from mlops.storage import read_json
from pipelines.expectations import Finding

__all__ = ["Example", "Outcome", "ValidateResult", "shown_if_refused", "validation_table"]

_LONGEST_ROW = 400
_MARKS = {"passed": "[green]✓[/]", "failed": "[red]✗[/]", "not judged": "–"}


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A quarantined row as its file has it, as JSON."""

    row: str
    source: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the delivery: `published` replaced the event table, and `forced` did in spite of `failed`."""

    published: bool
    forced: bool
    failed: tuple[str, ...]


class ValidateResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the rows, and what is to be said of the delivery as a whole.

    rows_in = good + quarantined + duplicates, always; `labels` of the good ones brought only the label of an event that
    was there. `passed_over` files were taken before: their rows are not counted again. `reasons` counts the quarantined
    rows, and `examples` shows one of each; `layout` is that of the files, and `absent` are the columns that none has.
    """

    source: str
    layout: str
    rows_in: int
    good: int
    quarantined: int
    duplicates: int
    reasons: dict[str, int]
    examples: dict[str, Example]
    absent: tuple[str, ...]
    first_event: str
    last_event: str
    findings: tuple[Finding, ...]
    outcome: Outcome
    seconds: float
    labels: int = 0
    passed_over: int = 0


@contextmanager
def shown_if_refused() -> Iterator[None]:
    """Show on standard error why a delivery was refused, before the error goes on."""
    try:
        yield
    except ExpectationError as error:
        if error.report is not None:
            print(validation_table(read_json(error.report, ValidateResult)), file=sys.stderr)
        raise


def validation_table(result: ValidateResult, width: int = 110) -> str:
    """The report for people: the rows' account, the reasons with an example each, the expectations, the outcome."""
    if result.passed_over and not result.rows_in:
        return f"Nothing new: {result.passed_over:,} files, and all were taken before.\n"
    stream = io.StringIO()
    console = Console(file=stream, width=width)
    span = (
        f", events from {result.first_event[:10]} to {result.last_event[:10]}" if result.first_event else ""
    )
    console.print(
        f"{result.rows_in:,} rows in ({result.layout} layout{span}) = {result.good:,} good + "
        f"{result.quarantined:,} quarantined + {result.duplicates:,} duplicates",
        soft_wrap=True,
        highlight=False,
    )
    if result.labels:
        console.print(
            f"{result.labels:,} of the good rows brought labels of events that were there", highlight=False
        )
    if result.passed_over:
        console.print(f"{result.passed_over:,} files were taken before, and passed over", highlight=False)
    if result.absent:
        console.print(f"No file has: {', '.join(result.absent)}", highlight=False)
    if result.reasons:
        table = Table(title="Quarantined", title_justify="left", box=None, padding=(0, 2, 0, 0))
        for heading in ("reason", "rows", "for example", "in"):
            table.add_column(heading, justify="right" if heading == "rows" else "left", overflow="fold")
        for reason, rows in sorted(result.reasons.items(), key=lambda item: -item[1]):
            example = result.examples[reason]
            table.add_row(
                escape(reason), f"{rows:,}", escape(example.row[:_LONGEST_ROW]), escape(example.source)
            )
        console.print(table)
    if result.findings:
        table = Table(title="Expectations", title_justify="left", box=None, padding=(0, 2, 0, 0))
        for heading in ("", "expectation", "limit", "found"):
            table.add_column(heading)
        for finding in result.findings:
            table.add_row(
                _MARKS[finding.verdict], escape(finding.expectation), finding.limit, escape(finding.text)
            )
        console.print(table)
    console.print(_sentence(result), highlight=False)
    return stream.getvalue()


def _sentence(result: ValidateResult) -> str:
    outcome = result.outcome
    if outcome.forced:
        return f"Published by force, in spite of: {'; '.join(outcome.failed)}."
    return (
        "Published: the event table holds what is above."
        if outcome.published
        else f"Nothing was published: {'; '.join(outcome.failed)}."
    )
