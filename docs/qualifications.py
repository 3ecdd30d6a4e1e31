"""Writes qualifications.md anew from what ran: `make evidence` (what ran is in runs/tests, JUnit reports of pytest).

    python docs/qualifications.py                                # write evidence.json and the page
    python docs/qualifications.py --check                        # write nothing; fail if they say something else
    python docs/qualifications.py --check --without containers   # where tests of that mark cannot run

A row's level is never declared. Its tests ran and passed, all of them, or it is "not yet"; what is checked as text
only says `at_most: rendered`. evidence.json keeps when that last was, so that a run of some tests brings their rows up
to date and leaves the others. The check wants every row's tests to have run just now, so the date of a row that it saw
does not matter to it, unless it is still to come; the number of tests does, where fewer passed. Rows whose tests cannot
run on this machine are told of, and rest on evidence.json, for 60 days at most.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

import msgspec

from mlops.errors import ConfigError, InputError, MlopsError
from mlops.storage import replace_file, write_json
from pipelines.evidence import Finding, Report, find, read_reports

__all__ = ["Area", "Ask", "Shown", "Verdict", "judge", "main", "read", "recorded", "render", "renewed"]

ROOT = Path(__file__).resolve().parents[1]
KEPT_DAYS = 60
"""For how long a row may rest on a run that cannot be repeated where the check runs."""

HEAD = f"""# Qualifications

What a senior machine-learning engineer is asked for, where it stands here, and the command that shows it.
Written by `make evidence` from [qualifications.yaml](qualifications.yaml) and pytest's reports of what ran;
[evidence.json](evidence.json) keeps the last run of each row. `.ci/run` fails where this page says something else
than its own run has shown.

**ran**: all the tests named ran and passed, last written down on that day. **rendered**: so did they, but they check
text only; what it is for was never run here. **not yet**: nothing shows it. Tests that cannot run on a machine, for
want of a container engine, leave a row as it was for {KEPT_DAYS} days.
"""

Level = Literal["ran", "rendered"]


class Ask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that is asked for; what is not here yet has no place, no command and no tests."""

    ask: str
    where: tuple[str, ...] = ()
    command: str = ""
    tests: tuple[str, ...] = ()
    at_most: Level = "ran"


class Area(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of asks."""

    area: str
    asks: tuple[Ask, ...]


class Shown(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last whole run of a row's tests. It is of these tests and this command: a row that changes loses it.

    `apart` is how many tests the same files hold that only `make prove` runs, which are not among those that passed.
    """

    command: str
    tests: tuple[str, ...]
    level: Level
    passed: int
    apart: int
    day: date

    def is_of(self, ask: Ask) -> bool:
        """Whether this was shown for the row as it stands now."""
        return (self.command, self.tests, self.level) == (ask.command, ask.tests, ask.at_most)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with the page, a line each, and of which rows nothing can be told here."""

    wrong: tuple[str, ...]
    not_run: tuple[str, ...]


def read(root: Path = ROOT) -> list[Area]:
    """The areas of qualifications.yaml.

    Raises:
        InputError: the file does not hold them.
    """
    path = root / "docs" / "qualifications.yaml"
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=list[Area])
    except msgspec.DecodeError as error:
        raise InputError(" ".join(str(error).split()), where=path) from None


def recorded(root: Path = ROOT) -> list[Shown]:
    """What evidence.json has; nothing where there is none yet, as in a fork that begins anew.

    Raises:
        InputError: the file holds something else.
    """
    path = root / "docs" / "evidence.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Shown])
    except FileNotFoundError:
        return []
    except msgspec.DecodeError as error:
        raise InputError(str(error), where=path, todo="remove it and run make evidence") from None


def renewed(
    root: Path,
    areas: Sequence[Area],
    record: Sequence[Shown],
    report: Report,
    *,
    without: Collection[str],
    today: date,
) -> list[Shown]:
    """The record after a run: rows that ran whole are of that day, rows that did not pass or changed are gone.

    A row of which no test, or not every one, ran keeps what it has; with `without` naming its tests, for 60 days.

    Raises:
        ConfigError: a row names no test that there is.
    """
    shown = []
    for ask in _asks(areas):
        finding, last = _find(root, ask, report, without), _last(ask, record)
        if finding.whole and finding.oldest is not None:
            last = Shown(
                command=ask.command,
                tests=ask.tests,
                level=ask.at_most,
                passed=finding.passed,
                apart=finding.apart,
                day=finding.oldest,
            )
        elif finding.failed or finding.skipped or (finding.not_here and last and _too_old(last, today)):
            last = None
        if last is not None and last not in shown:
            shown.append(last)
    return shown


def judge(
    root: Path,
    areas: Sequence[Area],
    record: Sequence[Shown],
    report: Report,
    *,
    without: Collection[str],
    today: date,
) -> Verdict:
    """Whether page and record say what `report` shows, row by row.

    Raises:
        ConfigError: a row names no test that there is.
    """
    wrong, not_run = [], []
    for ask in _asks(areas):
        finding, last = _find(root, ask, report, without), _last(ask, record)
        said = last.level if last is not None else "not yet"
        why = _why_not(finding)
        if last is not None and last.day > today:
            wrong.append(f"{ask.ask}: the page says {last.day}, which is still to come; run make evidence")
        elif why and last is not None:
            wrong.append(f"{ask.ask}: the page says {said}, but {why}")
        elif finding.not_here and not why:
            needs = f"{_some(finding.not_here)} cannot run here"
            if last is not None and _too_old(last, today):
                wrong.append(
                    f"{ask.ask}: {needs}, and last ran {(today - last.day).days} days ago; run it elsewhere, or let "
                    "the page say so: make evidence ARGS='--without …'"
                )
            else:
                not_run.append(
                    f"{ask.ask}: {needs}; the page says {said}" + (f", {last.day}" if last else "")
                )
        elif last is not None and finding.whole and _more_than(last, finding):
            wrong.append(
                f"{ask.ask}: the page says {_tests(last.passed, last.apart)}, but it was "
                f"{_tests(finding.passed, finding.apart)}; run make evidence"
            )
        elif finding.whole and last is None:
            wrong.append(f"{ask.ask}: the page says not yet, but its tests ran and passed; run make evidence")
    gone = [shown for shown in record if not any(shown.is_of(ask) for ask in _asks(areas))]
    if gone:
        tests = ", ".join(" ".join(shown.tests) for shown in gone)
        wrong.append(f"docs/evidence.json has what no row asks for now ({tests}); run make evidence")
    page = root / "docs" / "qualifications.md"
    if not page.is_file() or page.read_text(encoding="utf-8") != render(areas, record):
        wrong.append("docs/qualifications.md is stale; run make evidence")
    return Verdict(wrong=tuple(wrong), not_run=tuple(not_run))


def _asks(areas: Sequence[Area]) -> Iterator[Ask]:
    return (ask for area in areas for ask in area.asks)


def _last(ask: Ask, record: Sequence[Shown]) -> Shown | None:
    return next((shown for shown in record if shown.is_of(ask)), None)


def _too_old(shown: Shown, today: date) -> bool:
    return (today - shown.day).days > KEPT_DAYS


def _more_than(last: Shown, finding: Finding) -> bool:
    """Whether the page claims more than ran: tests that passed, or that none is left to `make prove`."""
    return last.passed > finding.passed or last.apart != finding.apart


def _tests(passed: int, apart: int) -> str:
    """How many tests, in words."""
    more = f" ({apart} more only in `make prove`)" if apart else ""
    return f"{passed} test{'s' if passed > 1 else ''}{more}"


def _find(root: Path, ask: Ask, report: Report, without: Collection[str]) -> Finding:
    try:
        return find(root, ask.tests, report, without=without)
    except ConfigError as error:
        raise ConfigError(
            f"{error.where} {error.what}",
            where=f"docs/qualifications.yaml: {ask.ask}",
            todo="name what shows it now, or take where, command and tests away",
        ) from None


def _why_not(finding: Finding) -> str:
    """What keeps a row from being shown, other than the machine; empty if nothing does."""
    told = (("failed", finding.failed), ("was skipped", finding.skipped), ("did not run", finding.absent))
    return ", ".join(f"{_some(nodes)} {what}" for what, nodes in told if nodes)


def _some(nodes: Sequence[str]) -> str:
    return nodes[0] + (f" (and {len(nodes) - 1} more)" if len(nodes) > 1 else "")


def render(areas: Sequence[Area], record: Sequence[Shown]) -> str:
    """The page, as Markdown."""
    lines = [HEAD, f"{_counts(areas, record)}.", ""]
    for area in areas:
        lines += [f"## {area.area}", "", "| asked for | where | shown by | evidence |", "|---|---|---|---|"]
        for ask in area.asks:
            where = ", ".join(f"[{path}](../{path})" for path in ask.where)
            command = f"`{ask.command}`" if ask.command else ""
            lines.append(f"| {ask.ask} | {where} | {command} | {_evidence(ask, _last(ask, record))} |")
        lines.append("")
    return "\n".join(lines)


def _counts(areas: Sequence[Area], record: Sequence[Shown]) -> str:
    levels = [last.level if (last := _last(ask, record)) else "not yet" for ask in _asks(areas)]
    counts = ", ".join(f"{levels.count(level)} {level}" for level in ("ran", "rendered", "not yet"))
    return f"Of {len(levels)} rows: {counts}"


def _evidence(ask: Ask, last: Shown | None) -> str:
    if last is None:
        return "not yet"
    files = dict.fromkeys(test.partition("::")[0] for test in ask.tests)
    links = ", ".join(f"[{Path(file).stem}](../{file})" for file in files)
    return f"**{last.level}** {last.day}, {_tests(last.passed, last.apart)}: {links}"


def main(argv: Sequence[str] | None = None, *, root: Path = ROOT) -> int:
    """Write page and record, or check them; 0 well, 1 the check failed, 2 a file is not what it should be."""
    parser = argparse.ArgumentParser(
        prog="make evidence", description="The page on qualifications, from what ran."
    )
    parser.add_argument(
        "--reports", type=Path, default=root / "runs" / "tests", help="JUnit reports; runs/tests"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing, fail if the page says something else"
    )
    parser.add_argument(
        "--without", action="append", default=[], metavar="MARK", help="such tests cannot run here"
    )
    options = parser.parse_args(argv)
    today = datetime.now(UTC).date()
    try:
        areas, record, report = read(root), recorded(root), read_reports(options.reports)
        if options.check:
            if not report:
                raise InputError("no reports of tests", where=options.reports, todo="run .ci/run")
            verdict = judge(root, areas, record, report, without=options.without, today=today)
            for line in verdict.not_run:
                print(f"NOT RUN: {line}")
            for line in verdict.wrong:
                print(f"evidence: {line}", file=sys.stderr)
            return 1 if verdict.wrong else 0
        record = renewed(root, areas, record, report, without=options.without, today=today)
        write_json(root / "docs" / "evidence.json", record)
        with replace_file(root / "docs" / "qualifications.md") as aside:
            aside.write_text(render(areas, record), encoding="utf-8")
    except MlopsError as error:
        print(f"evidence: {error.line()}", file=sys.stderr)
        return error.exit_code
    print(f"docs/qualifications.md: {_counts(areas, record)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
