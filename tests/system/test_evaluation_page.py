"""The page of an evaluation in a real browser: nothing overflows or is covered, and no half of the page is empty."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser

from tests.system.test_demo_page import COVERED, OUTSIDE, browser  # noqa: F401 - a fixture
from tests.training.judged import FACTS
from tests.training.test_report import report

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

# Names of thresholds that lie on what is drawn: below the top of the tallest curve or bar of their picture.
COVERING = """() => [...document.querySelectorAll("svg")].flatMap(svg => {
    const tops = [...svg.querySelectorAll(".curve, .bar")].map(mark => mark.getBoundingClientRect().top);
    return [...svg.querySelectorAll(".mark-text")].filter(
        text => text.getBoundingClientRect().bottom > Math.min(...tops) + 3
    ).map(text => text.textContent);
})"""
# How much of the page's width the last picture and the bars of importance take.
TAKEN = """() => [".plots > :last-child", "#importance .row:last-child"].map(part => {
    const box = document.querySelector(part).getBoundingClientRect();
    const page = document.querySelector(".plots").getBoundingClientRect();
    return (box.right - page.left) / page.width;
})"""


@pytest.mark.parametrize("width", [400, 1400])
def test_the_evaluation_is_read_on_a_phone_and_fills_a_wide_page(
    browser: Browser,  # noqa: F811
    tmp_path: Path,
    width: int,
) -> None:
    importance = {f"feature_with_a_long_name_{n}": 0.05 for n in range(20)}
    (tmp_path / "page.html").write_text(report(msgspec.structs.replace(FACTS, importance=importance))[1])
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto((tmp_path / "page.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not page.evaluate(COVERED) and not page.evaluate(OUTSIDE) and not page.evaluate(COVERING)
    assert page.evaluate(TAKEN) == pytest.approx([1, 1], abs=0.01)
    page.close()
