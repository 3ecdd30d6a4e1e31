"""The demo's page in a real browser: nothing overflows, no picture is empty, no error, no dead link.

Three pages: the one that the demo has just written, and from a small computation one with a promotion and one with a
refusal. `MLOPS_DEMO_PAGE` names another page to look at instead.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from mlops.policy import Drift
from monitoring.page import render
from monitoring.story import Link
from tests.monitoring.example import example_story
from tests.system.conftest import Offline

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
VIEWS = [(width, scheme) for width in (400, 1400) for scheme in ("light", "dark")]
EMPTY_FIGURES = """() => [...document.querySelectorAll("figure")].filter(figure => {
    const marks = [...figure.querySelectorAll(".mark")].filter(mark => {
        const box = mark.getBoundingClientRect(), stroke = getComputedStyle(mark).stroke !== "none";
        return stroke ? box.width + box.height > 2 : box.width > 1 && box.height > 1;
    });
    const box = figure.getBoundingClientRect();
    return !(marks.length && box.width > 100 && box.height > 50);
}).map(figure => figure.id || figure.textContent.trim().slice(0, 60))"""
# What a reader cannot reach: text that leaves its box where nothing scrolls, and marks outside of their picture.
OUTSIDE = """() => [...document.querySelectorAll("svg")].filter(svg => svg.checkVisibility()).flatMap(svg => {
    const frame = svg.getBoundingClientRect();
    return [...svg.querySelectorAll("text, .mark")].filter(mark => {
        const box = mark.getBoundingClientRect();
        return box.left < frame.left - 2 || box.right > frame.right + 2
            || box.top < frame.top - 2 || box.bottom > frame.bottom + 2;
    }).map(mark => mark.outerHTML.slice(0, 120));
})"""
COVERED = """() => [...document.querySelectorAll("p, h1, h2, td, th, li, dd, figcaption, summary")].filter(
    element => element.checkVisibility() && !element.closest(".scroll")
        && element.getBoundingClientRect().right > innerWidth + 1
).map(element => element.textContent.trim().slice(0, 60))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium is not None, "no chromium: install the Debian packages of infra/system-packages"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture(scope="module", params=["demo", "promoted", "refused"])
def page_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if named := os.environ.get("MLOPS_DEMO_PAGE"):
        return Path(named).resolve()
    if request.param == "demo":
        offline: Offline = request.getfixturevalue("offline_demo")
        return offline.home / "index.html"
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "card.md").write_text("# A model card\n")
    links = (
        Link(title="Model card", text="what the champion is for", href="card.md"),
        Link(title="MLflow", text="all runs", command="mlflow ui --backend-store-uri sqlite:///mlflow.db"),
    )
    render(example_story(refused=request.param == "refused", links=links), folder / "index.html")
    return folder / "index.html"


@pytest.fixture(params=VIEWS, ids=lambda view: f"{view[0]}-{view[1]}")
def page(request: pytest.FixtureRequest, browser: Browser, page_file: Path) -> Iterator[Page]:
    width, scheme = request.param
    opened = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    yield opened
    opened.close()


def _open(page: Page, file: Path) -> list[str]:
    """Open the file; what was wrong: console errors, exceptions, and requests that left this machine."""
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request",
        lambda request: (
            wrong.append(request.url) if not request.url.startswith(("file:", "data:", "blob:")) else None
        ),
    )
    page.goto(file.as_uri())
    return wrong


def test_opens_without_errors_and_loads_nothing_from_elsewhere(page: Page, page_file: Path) -> None:
    assert not _open(page, page_file)


def test_nothing_overflows(page: Page, page_file: Path) -> None:
    _open(page, page_file)
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not page.evaluate(COVERED)
    assert not page.evaluate(OUTSIDE)


def test_no_picture_is_empty(page: Page, page_file: Path) -> None:
    _open(page, page_file)
    assert page.locator("figure").count() >= 8
    assert not page.evaluate(EMPTY_FIGURES)


def test_each_picture_is_drawn_once_at_each_width(page: Page, page_file: Path) -> None:
    _open(page, page_file)
    for figure in ("timeline", "daily"):
        shown = page.evaluate(
            f"[...document.querySelectorAll('#{figure} svg')].filter(s => s.checkVisibility()).length"
        )
        assert shown == 1


def test_text_stands_out_from_the_paper(page: Page, page_file: Path) -> None:
    _open(page, page_file)
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    paper, ink = (
        sum(int(part) for part in page.evaluate(f"getComputedStyle(document.body).{name}")[4:-1].split(","))
        for name in ("backgroundColor", "color")
    )
    assert (paper < ink) == dark and abs(paper - ink) > 500


def test_relative_links_lead_somewhere(page: Page, page_file: Path) -> None:
    _open(page, page_file)
    links = page.eval_on_selector_all("a[href]", "links => links.map(link => link.getAttribute('href'))")
    assert links
    for link in links:
        assert not urlsplit(link).scheme, f"{link} is not relative"
        assert (page_file.parent / unquote(urlsplit(link).path)).exists(), f"{link} leads nowhere"


def test_the_drift_report_opens_without_a_network(browser: Browser, tmp_path: Path) -> None:
    from monitoring.drift import detect_drift  # takes seconds

    report = tmp_path / "drift.html"
    before, after = (pd.DataFrame({"amount": [float(n * k % 97) for n in range(500)]}) for k in (1, 3))
    detect_drift(before, after, ("amount",), Drift(), report)
    context = browser.new_context(offline=True)
    page = context.new_page()
    wrong = _open(page, report)
    page.get_by_text("Dataset Drift", exact=False).first.wait_for(timeout=20_000)
    assert not wrong
    context.close()
