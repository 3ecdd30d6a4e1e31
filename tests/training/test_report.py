"""The report is one JSON file that reads back, and one HTML file that needs nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec
import numpy as np
import pytest

import usecases.fraud
from mlops.bundle import Decisions
from mlops.contract import UseCase
from mlops.metrics import Interval
from mlops.slices import SliceFigures
from tests.training import flats
from tests.training.judged import ABLATION, EVALUATION, FACTS, SLICES
from training.card import CardFacts
from training.dataset import load_dataset
from training.parity import Parity
from training.report import Report, write_report
from training.split import split_windows
from training.tasks.classification import ClassificationEvaluation
from training.tasks.regression import TASK

FRAUD = msgspec.structs.replace(usecases.fraud.USE_CASE, slices=SLICES)
DECISIONS = Decisions(review_at=0.125, decline_at=0.75, chosen_by="least cost")
PARITY = Parity(rows=2_000, max_abs_diff=6.6e-7)


class Tags(HTMLParser):
    """Collects the tags of a page, and sees to it that they are closed in order, and no paragraph holds another."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(page)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "p" or "p" not in self._open
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "wbr", "br", "hr"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def report(
    facts: CardFacts = FACTS,
    use_case: UseCase = FRAUD,
    evaluation: ClassificationEvaluation = EVALUATION,
    decisions: Decisions | None = DECISIONS,
) -> tuple[bytes, str]:
    candidate = msgspec.structs.replace(use_case.candidates[0], params={"trees": 40})
    return write_report("usecases.fraud", use_case, candidate, facts, evaluation, decisions, PARITY)


def test_the_json_reads_back_as_all_that_is_known() -> None:
    found = msgspec.json.decode(report()[0], type=Report)
    assert found.figures == EVALUATION
    assert (found.facts, found.decisions, found.parity) == (FACTS, DECISIONS, PARITY)
    assert (found.use_case, found.candidate) == ("fraud", FRAUD.candidates[0].name)
    assert found.params == {"trees": 40}


def test_the_page_needs_no_other_file_and_no_network() -> None:
    page = Tags(report()[1])
    for tag, attributes in page.tags:
        assert tag != "script"
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:,").startswith(("data:", "#"))
    assert "url(" not in report()[1]
    assert "@import" not in report()[1]


def test_every_picture_is_there_and_says_what_it_is() -> None:
    pictures = [attributes["aria-label"] for tag, attributes in Tags(report()[1]).tags if tag == "svg"]
    assert pictures == [
        "Precision-recall curve",
        "ROC curve",
        "Reliability curve",
        "Distribution of scores",
        "Cost against threshold",
    ]
    undecided = msgspec.structs.replace(
        EVALUATION,
        cost=None,
        cost_interval=None,
        cost_approve_all=None,
        workload=None,
        curves=msgspec.structs.replace(EVALUATION.curves, cost=None),
    )
    assert "Cost against threshold" not in report(evaluation=undecided, decisions=None)[1]


def test_figures_slices_and_lineage_are_on_the_page() -> None:
    page = re.sub(r"<[^>]+>", " ", report()[1])
    page = re.sub(r"\s+", " ", page)
    for text in (
        "average precision 0.654 0.601 to 0.703",
        "card precision@100 0.067 0.061 to 0.073 a perfect scorer reaches 0.091",
        "night night 3,000 40 0.500",
        "day 9,000 5 too few to say",
        "installed 10cc",
        "seven times lower",
        "Not run at effort quick",
        "Not computed in this run",
    ):
        assert text in page


def test_importance_and_ablation_are_bars_where_they_were_computed() -> None:
    facts = msgspec.structs.replace(FACTS, importance={"is_night": 0.25, "amount": 0.75}, ablation=ABLATION)
    page = report(facts)[1]
    assert page.index("75.0%") < page.index("25.0%")
    assert "+0.0120" in page
    assert "sequence by card, 2 features" in page
    assert "Not run" not in page


def test_what_a_name_holds_is_shown_and_not_followed() -> None:
    evil = "<script>alert(1)</script>"
    facts = msgspec.structs.replace(FACTS, run_id=evil, importance={evil: 1.0})
    slices = (SliceFigures(name=evil, value=evil, events=1, positives=0, figures=None),)
    page = report(facts, evaluation=msgspec.structs.replace(EVALUATION, slices=slices))[1]
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.fixture(scope="module")
def rents(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    """The report of a regression."""
    table = flats.write_feature_table(tmp_path_factory.mktemp("flats") / "features")
    data = load_dataset(table, flats.USE_CASE)
    windows = split_windows(data, flats.USE_CASE.policy.split)
    scores = np.nan_to_num(data.label, nan=0.0).astype(np.float32) + data.features[:, 0]
    found = TASK.evaluate(scores, data, windows, None, flats.USE_CASE.policy, seed=0)
    candidate = flats.USE_CASE.candidates[0]
    return write_report("tests.training.flats", flats.USE_CASE, candidate, FACTS, found, None, PARITY)


def test_a_regression_has_its_own_pictures(rents: tuple[bytes, str]) -> None:
    found = msgspec.json.decode(rents[0], type=Report)
    assert isinstance(found.figures.rmse, Interval)
    pictures = [attributes["aria-label"] for tag, attributes in Tags(rents[1]).tags if tag == "svg"]
    assert pictures == ["Labels against predictions", "Bias by prediction", "Distribution of residuals"]
    assert "Bias by prediction" in rents[1]
    assert "root mean squared error" in rents[1]
