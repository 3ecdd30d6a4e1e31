"""The page of a comparison: whatever its names are, it is a page, and one that may be posted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from infra.delivery.comment import inert
from pipelines import compare_page, lifecycle
from pipelines.compare import Comparison, compare
from pipelines.compare_page import markdown
from tests.training import example
from training.tasks import Figure
from training.train import train_candidate

CHART = "```mermaid\nxychart-beta\n"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """A champion beside itself."""
    settings = example.settings(tmp_path_factory.mktemp("home"))
    features = example.write_feature_table(settings.features)
    result = train_candidate(example.spec(settings.home, features, seed=0))
    with ThreadPoolExecutor(1) as pool:
        released = lifecycle.release(settings, [result], pool=pool, table=features)
    assert released.version is not None, released.sentence
    lifecycle.promote(settings, released.version)
    return compare(settings, settings.home)


@pytest.mark.parametrize(
    "name",
    [
        "Late payers (<30 days)",
        "a [name](//x) <b> with | `ticks` & @everybody",
        "R&D; ```mermaid ~~~ #3 $5 https://example.org",
        '"] %% \\',
    ],
)
def test_a_comparison_of_any_names_is_posted_with_its_chart_and_the_tables_whole(
    found: Comparison, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The use case's title, the contenders' names, and what a task calls its figures and makes of them."""
    (candidate,) = found.candidates
    told = compare_page._card(found.champion, example.USE_CASE)
    figures = tuple(Figure(name=f"{name} {n}", value=name) for n, _ in enumerate(told.figures))
    card = msgspec.structs.replace(told, figures=figures, interval=name)
    monkeypatch.setattr(compare_page, "_card", lambda *_: card)
    named = msgspec.structs.replace(
        found,
        title=name,
        champion=msgspec.structs.replace(found.champion, name=name),
        candidates=(msgspec.structs.replace(candidate, name=name),),
    )
    shown = inert(markdown(named, example.USE_CASE))
    plain = markdown(found, example.USE_CASE)
    assert CHART in shown and [line.count(" | ") for line in shown.splitlines()[:8]] == [
        line.count(" | ") for line in plain.splitlines()[:8]
    ]
    apart = msgspec.structs.replace(named, apart=name)
    assert inert(markdown(apart, example.USE_CASE)).startswith("## ")


def test_a_real_comparison_is_posted_as_it_reads(found: Comparison) -> None:
    text = markdown(found, example.USE_CASE)
    assert CHART in text and inert(text).replace("\N{ZERO WIDTH SPACE}", "") == text
