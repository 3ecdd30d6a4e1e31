from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from monitoring.page import render, render_report
from monitoring.page.bars import cost_bars, drift_bars
from monitoring.page.words import headline
from monitoring.performance import measure_performance
from monitoring.results import Alert, ColumnDrift, MonitorResult
from monitoring.story import Link, Period, Story
from tests.monitoring.example import USE_CASE, drift_result, example_story, payments


@pytest.fixture(scope="module")
def promoted() -> Story:
    return example_story()


@pytest.fixture(scope="module")
def refused() -> Story:
    return example_story(refused=True)


def _page(story: Story, folder: Path) -> str:
    render(story, folder / "index.html")
    return (folder / "index.html").read_text()


def _words(page: str) -> str:
    body = page[page.index("<body>") :]
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_tells_every_part_of_the_story(promoted: Story, tmp_path: Path) -> None:
    page = _page(promoted, tmp_path)
    words = _words(page)
    for period in promoted.periods:
        assert period.title in words and period.scores.ap is not None
        assert f"{period.scores.ap.value:.2f}" in words
    for training in promoted.trainings:
        for candidate in training.candidates:
            assert f"What the gate said of {candidate.name}" in words
            assert f"{candidate.ap:.3f}" in words
    for milestone in promoted.milestones:
        assert milestone.text in words
    for column in promoted.drift.columns:
        assert column.name in page.replace("<wbr>", "")
    for stage in promoted.stages:
        assert stage.name in words
    for figure in ("timeline", "daily", "drift", "cost", "confusion", "stages"):
        assert f'id="{figure}"' in page


def test_is_one_file_that_needs_nothing_else(promoted: Story, tmp_path: Path) -> None:
    page = _page(promoted, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    assert not re.findall(r"https?://|<script|@import|url\(|src=", page)


def test_escapes_text_wherever_it_comes_from(promoted: Story, tmp_path: Path) -> None:
    nasty = '<script>alert("x")</script>'
    column = msgspec.structs.replace(promoted.drift.columns[0], name=nasty)
    story = msgspec.structs.replace(
        promoted,
        title=nasty,
        drift=msgspec.structs.replace(promoted.drift, columns=(column,)),
        milestones=tuple(msgspec.structs.replace(m, text=nasty) for m in promoted.milestones),
        windows=tuple(msgspec.structs.replace(w, lane=nasty, text=nasty) for w in promoted.windows),
        periods=tuple(msgspec.structs.replace(p, title=nasty, model=nasty) for p in promoted.periods),
        trainings=tuple(msgspec.structs.replace(t, title=nasty) for t in promoted.trainings),
        stages=(msgspec.structs.replace(promoted.stages[0], name=nasty),),
        quarantine_reasons={nasty: 1},
        links=(Link(title=nasty, text=nasty, href=nasty, command=nasty),),
    )
    page = _page(story, tmp_path).replace("<wbr>", "")
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 20


def test_a_promotion_is_told_with_what_would_have_been(promoted: Story) -> None:
    title, lead = headline(promoted)
    assert "brought it back" in title
    virtual = promoted.counterfactual
    assert virtual is not None and virtual.scores.ap is not None
    assert f"the old one would have reached {virtual.scores.ap.value:.3f}" in lead


def test_a_refusal_is_told_plainly(refused: Story, tmp_path: Path) -> None:
    title, lead = headline(refused)
    assert "the gate refused" in title and "goes on serving" in lead
    words = _words(_page(refused, tmp_path))
    assert "Promotion refused" in words and "v1 stays" in words
    assert "brought it back" not in words


def test_where_nothing_was_retrained_nothing_is_said_to_be_refused(refused: Story, tmp_path: Path) -> None:
    story = msgspec.structs.replace(refused, trainings=refused.trainings[:1])
    words = _words(_page(story, tmp_path))
    assert "no model was retrained" in words and "Monitoring asked for no retraining" in words
    assert "refuse" not in headline(story)[0] and "Promotion refused" not in words


def test_a_loss_or_a_recovery_that_the_intervals_leave_open_is_not_claimed(promoted: Story) -> None:
    before, changed, after, virtual = promoted.periods

    def like(period: Period, other: Period) -> Period:
        return msgspec.structs.replace(period, scores=other.scores)

    held = msgspec.structs.replace(promoted, periods=(before, like(changed, before), after, virtual))
    title, lead = headline(held)
    assert "the model held" in title and "no certain loss" in lead
    stuck = msgspec.structs.replace(promoted, periods=(before, changed, like(after, changed), virtual))
    assert "does not clearly do better" in headline(stuck)[0]


def test_labels_that_never_came_are_mentioned(promoted: Story, tmp_path: Path) -> None:
    assert "have not come" not in _words(_page(promoted, tmp_path))
    late = msgspec.structs.replace(promoted.periods[0], missing_labels=37)
    story = msgspec.structs.replace(promoted, periods=(late, *promoted.periods[1:]))
    assert "37 labels of the period" in _words(_page(story, tmp_path))


def test_one_feature_far_off_does_not_flatten_the_others(promoted: Story) -> None:
    def column(name: str, value: float | None, drifted: bool) -> ColumnDrift:
        return ColumnDrift(name=name, statistic="wasserstein", value=value, threshold=0.1, drifted=drifted)

    columns = (column("far", 900.0, True), column("near", 0.2, True), column("gone", None, True))
    bars, threshold = drift_bars(msgspec.structs.replace(promoted.drift, columns=columns))
    found = {bar.name: bar for bar in bars}
    assert found["far"].cut and found["far"].length == 100
    assert found["near"].length == pytest.approx(2 * threshold) and not found["near"].cut
    assert found["gone"].text == "no values"


def test_costs_of_all_periods_share_one_scale(promoted: Story) -> None:
    bars = cost_bars(promoted)
    lengths = [sum(part.length for part in bar.parts) for bar in bars]
    assert max(lengths) == pytest.approx(100)
    assert lengths[0] / lengths[1] == pytest.approx(bars[0].total / bars[1].total)


def test_survives_being_written_down(promoted: Story) -> None:
    assert msgspec.json.decode(msgspec.json.encode(promoted), type=Story) == promoted


def _result(**changes: object) -> MonitorResult:
    served, labels = payments(65, 71, skill=lambda day: 2.0)
    as_of = datetime(2018, 6, 19, tzinfo=UTC)
    result = MonitorResult(
        first_day="2018-06-05",
        last_day="2018-06-11",
        as_of=as_of.isoformat(),
        drift=drift_result(),
        drift_report="drift.html",
        performance=measure_performance(served, labels.slice(11), USE_CASE, as_of=as_of),
        reference_figure=0.8,
        alerts=(),
        request=None,
    )
    return msgspec.structs.replace(result, **changes)


def test_a_report_says_what_was_found_and_what_is_missing(tmp_path: Path) -> None:
    alert = Alert(rule="drift", observed=0.4, limit=0.2, text="8 of 19 features have drifted: <amount>")
    result = _result(alerts=(alert,))
    render_report(result, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    words = _words(page)
    assert "An alert: drift" in words and "&lt;amount&gt;" in page and "<amount>" not in page
    assert "11 of them have not come" in words
    assert 'href="drift.html"' in page
    for day in result.performance.days:
        assert day.first_day in words and day.ap is not None and f"{day.ap.value:.3f}" in words


def test_a_report_without_labels_or_drift_is_still_a_report(tmp_path: Path) -> None:
    served, labels = payments(65, 66, skill=lambda day: 2.0)
    early = measure_performance(served, labels, USE_CASE, as_of=datetime(2018, 6, 7, tzinfo=UTC))
    render_report(_result(drift=None, drift_report="", performance=early), tmp_path / "report.html")
    words = _words((tmp_path / "report.html").read_text())
    assert "Nothing to look at" in words and "the labels of 0 are due" in words
