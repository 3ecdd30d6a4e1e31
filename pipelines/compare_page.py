"""A comparison with the champion for readers: Markdown that a forge shows as it is, and pictures as SVG files."""

from __future__ import annotations

import re
from pathlib import Path

from mlops.contract import UseCase
from mlops.metrics import Interval
from mlops.storage import check_replaceable, publish_dir
from pipelines.compare import Comparison, Contender
from training.axes import Axes, Axis, linear
from training.tasks import CardParts, Figure, task_for

__all__ = ["REPORT", "earlier", "markdown", "write_comparison"]

REPORT = "report.md"
DIFFERENCE = "difference.svg"
ROLES = ("champion", "candidate")
# A picture stands alone here, without the page whose style sheet gives its colours.
STYLE = """
svg{background:#fff;font:12px "DejaVu Sans",sans-serif}.tick{fill:#5a636c}.mark-text{fill:#7a4fb8}.grid{stroke:#ecece7}
.curve{fill:none;stroke:var(--tone);stroke-width:2.5}.curve.thin{stroke-width:1.25}.curve.faint{stroke-dasharray:5 4}
.dot,.bar{fill:var(--tone)}.bar{fill-opacity:.6}.dot.small{fill-opacity:.45}.whisker{stroke:var(--tone);stroke-width:2}
.main{--tone:#2b6cb0}.second,.positive{--tone:#c4500b}.faint,.others{--tone:#93a0ac}.threshold{--tone:#7a4fb8}
"""


def earlier(names: set[str]) -> set[str]:
    """Of the names in a folder those that an earlier comparison wrote."""
    pictures = {name for name in names if re.fullmatch(rf"({'|'.join(ROLES)})-[a-z0-9-]+\.svg", name)}
    # Anybody's folder may hold a report of that name; with our pictures beside it, it is ours.
    return {*pictures, REPORT, DIFFERENCE} if pictures else set()


def write_comparison(comparison: Comparison, use_case: UseCase, out: Path) -> Path:
    """Write `report.md` and the pictures to the folder `out`, in place of an earlier comparison.

    Returns the report's path.

    Raises:
        InputError: something else would be replaced.
    """
    check_replaceable(out, earlier)
    with publish_dir(out) as folder:
        (folder / REPORT).write_text(markdown(comparison, use_case))
        if not comparison.apart:
            (folder / DIFFERENCE).write_text(_alone(_differences(comparison, use_case)))
        for role, one in zip(ROLES, (comparison.champion, comparison.candidates[0]), strict=True):
            report = one.report
            for plot in task_for(use_case.task).plots(report.figures, report.decisions, use_case.label):
                (folder / f"{role}-{_slug(plot.title)}.svg").write_text(_alone(plot.svg))
    return out / REPORT


def markdown(comparison: Comparison, use_case: UseCase) -> str:
    """The report: the verdict in a sentence, figures beside each other, the gate's checks, and what each costs."""
    champion, candidates = comparison.champion, comparison.candidates
    admitted = [one.name for one in candidates if one.admitted]
    said = f"the gate would promote {_cell(admitted[0])}" if admitted else "the gate would keep the champion"
    if comparison.apart:
        said = f"nothing is paired: {_cell(comparison.apart)}"
    parts = [
        f"## {_cell(comparison.title)}: {said}",
        f"The champion is {_cell(champion.name)} of the base, trained and tested on the same days as "
        f"{'each candidate' if len(candidates) > 1 else 'the candidate'}.",
        _figures(comparison, use_case),
        *([] if comparison.apart else [_bars(comparison, use_case)]),
        "### The gate",
        _checks(candidates),
        "### What it takes",
        _table(
            ["", "seconds to fit", "ms to score a row", "features", "MB"],
            [_taken(one, champion) for one in (champion, *candidates)],
        ),
        "Milliseconds are those of the gate, on the machine that trained: the 99th percentile of one row at a time.",
    ]
    return "\n\n".join(parts) + "\n"


def _taken(one: Contender, champion: Contender) -> list[str]:
    seconds = one.report.facts.fit_seconds
    row = "–" if one.row_ms is None else f"{one.row_ms:.3f}"
    return [_named(one, champion), f"{seconds:.1f}", row, str(one.features), f"{one.megabytes:.2f}"]


def _named(one: Contender, champion: Contender) -> str:
    return f"**champion** ({_cell(one.name)})" if one is champion else _cell(one.name)


def _figures(comparison: Comparison, use_case: UseCase) -> str:
    champion, candidates = comparison.champion, comparison.candidates
    told = [_told(one, use_case) for one in (champion, *candidates)]
    names = dict.fromkeys(name for one in told for name in one)
    rows = [[_cell(name), *(_figure(one.get(name)) for one in told)] for name in names]
    if not comparison.apart:
        rows.append(
            [
                f"**better: {_cell(_headline(comparison, use_case))}**",
                "",
                *(_signed(one.better, "+.4g") for one in candidates),
            ]
        )
        if any(one.cheaper for one in candidates):
            rows.append(
                ["**saved by decisions**", "", *(_signed(one.cheaper, "+,.0f") for one in candidates)]
            )
    confidence = use_case.policy.gate.confidence
    how = _cell(_card(champion, use_case).interval)
    note = f"In brackets: {confidence:.0%} intervals ({how}; differences are paired)."
    heads = ["on the test events", *(_named(one, champion) for one in (champion, *candidates))]
    return f"{_table(heads, rows)}\n\n{note}"


def _card(one: Contender, use_case: UseCase) -> CardParts:
    return task_for(use_case.task).card(one.report.figures, one.report.decisions, use_case.label)


def _told(one: Contender, use_case: UseCase) -> dict[str, Figure]:
    return {figure.name: figure for figure in _card(one, use_case).figures}


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    return _cell(f"{figure.value} ({figure.interval})" if figure.interval else figure.value)


def _signed(one: Interval | None, form: str) -> str:
    return "–" if one is None else f"{one.value:{form}} ({one.low:{form}} to {one.high:{form}})"


def _bars(comparison: Comparison, use_case: UseCase) -> str:
    """The differences as a chart that forges draw from text: a bar each, the interval's ends as two lines."""
    held = [(one.name, one.better) for one in comparison.candidates if one.better]
    names = ", ".join(_quoted(name) for name, _ in held)
    lines = [
        "```mermaid",
        "xychart-beta",
        '    title "Better than the champion: bars, and the ends of the interval"',
        f"    x-axis [{names}]",
        f"    y-axis {_quoted(_headline(comparison, use_case))}",
    ]
    for kind, values in (
        ("bar", [better.value for _, better in held]),
        ("line", [better.low for _, better in held]),
        ("line", [better.high for _, better in held]),
    ):
        lines.append(f"    {kind} [{', '.join(f'{value:.5f}' for value in values)}]")
    return "\n".join([*lines, "```"])


def _quoted(text: str) -> str:
    """A chart's text, of nothing that could end it."""
    return '"' + re.sub(r"[^\w .-]", " ", text) + '"'


def _headline(comparison: Comparison, use_case: UseCase) -> str:
    """What the figure is called that models are ranked by."""
    return _card(comparison.champion, use_case).figures[0].name


def _differences(comparison: Comparison, use_case: UseCase) -> str:
    held = [(one.name, one.better) for one in comparison.candidates if one.better]
    ends = [0.0, *(end for _, better in held for end in (better.low, better.high))]
    room = 0.1 * (max(ends) - min(ends))
    places = Axis(
        low=0,
        high=len(held) + 1,
        ticks=tuple((n, name) for n, (name, _) in enumerate(held, 1)),
        title="candidate",
    )
    headline = _headline(comparison, use_case)
    axes = Axes(places, linear(min(ends) - room, max(ends) + room, headline), "Differences to the champion")
    axes.level(0.0, "faint", "the champion")
    for n, (name, better) in enumerate(held, 1):
        axes.dot(n, better.value, "main", f"{name}: {better.value:+.4g}", better.low, better.high)
    return axes.svg()


def _alone(svg: str) -> str:
    """A picture of a page as a file of its own."""
    return (
        str(svg)
        .replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
        .replace(">", f"><style>{STYLE}</style>", 1)
    )


def _slug(title: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", title.lower()))


def _checks(candidates: tuple[Contender, ...]) -> str:
    rows = []
    for one in candidates:
        verdict = "would be promoted" if one.admitted else "refused"
        refused = [check for check in one.checks if check.passed is False]
        open_ = [check for check in one.checks if check.passed is None]
        rows.append([_cell(one.name), verdict, " ".join(_cell(check.text) for check in (*refused, *open_))])
    counted = (
        f"{len(candidates[0].checks)} checks each; those that passed are in `release.json` and the registry."
    )
    return f"{_table(['candidate', 'verdict', 'refused, or not judged'], rows)}\n\n{counted}"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(text: str) -> str:
    """Text that cannot leave its line or cell, nor become markup."""
    return re.sub(r"([\\`*_{}\[\]<>|@#&~])", r"\\\1", " ".join(text.split()))
