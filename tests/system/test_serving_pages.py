"""The service's pages in a real browser: an event is scored by hand, a mistake is shown where it was made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from mlops.api_keys import create_key
from mlops.bundle import Schema
from mlops.contract import load_use_case
from mlops.signing import PUBLIC_KEY, ensure_keys
from serving.app import ROUTES
from tests.serving.example import Server, World
from tests.system.test_demo_page import COVERED, VIEWS, browser  # noqa: F401 - a fixture
from usecases.fraud.features import PUBLISHED

expect.set_options(timeout=20_000)
pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The published features, for whoever is on this machine."""
    world = _world(tmp_path_factory.mktemp("pages"))
    with world.server() as server:
        yield server


def _world(home: Path) -> World:
    use_case, world = load_use_case("usecases.fraud"), World(home)
    ids = ("transaction_id", "customer_id", "terminal_id")
    schema = Schema(events=use_case.events, label=use_case.label, whole_number_ids=ids)
    world.deploy("1", world.bundle(features=PUBLISHED, schema=schema))
    return world


@pytest.fixture(params=VIEWS, ids=lambda view: f"{view[0]}-{view[1]}")
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:  # noqa: F811
    width, scheme = request.param
    opened = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    yield opened
    opened.close()


@pytest.fixture
def phone(browser: Browser) -> Iterator[Page]:  # noqa: F811
    opened = browser.new_page(viewport={"width": 360, "height": 700}, has_touch=True)
    yield opened
    opened.close()


def _open(page: Page, server: Server, path: str) -> list[str]:
    """Open a page; what was wrong: exceptions, errors of the console, requests that left the service."""
    wrong: list[str] = []
    base = f"http://127.0.0.1:{server.port}"
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on(
        "request",
        lambda request: (
            wrong.append(request.url) if not request.url.startswith((base, "data:", "blob:")) else None
        ),
    )
    page.goto(base + path)
    return wrong


def _nothing_overflows(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not page.evaluate(COVERED)


def test_an_event_is_scored_by_hand(page: Page, service: Server) -> None:
    wrong = _open(page, service, "/")
    expect(page.locator("#state")).to_contain_text(re.compile("Ready.*example.*version 1"))
    for name in ("transaction_id", "event_time", "customer_id", "terminal_id", "amount"):
        expect(page.get_by_label(name)).not_to_have_value("")
    page.get_by_label("amount").fill("40.5")
    page.get_by_role("button", name="Score").click()
    expect(page.locator("#decision")).to_have_text(re.compile("Approve|Review|Decline"))
    assert 0 < float(page.locator("#value").inner_text()) < 1
    features = page.locator("#features tr")
    expect(features).to_have_count(len(PUBLISHED.names))
    expect(features.first).to_contain_text("amount")
    expect(features.first).to_contain_text("40.50")
    expect(features.nth(1)).to_contain_text(re.compile("yes|no"))
    expect(features.nth(3).locator(".number")).to_have_text(re.compile(r"^(1 payment|\d+ payments)$"))
    expect(features.last).to_contain_text("%")
    reasons = page.locator("#reasons li")
    assert 1 <= reasons.count() <= 3
    for text in reasons.all_inner_texts():
        assert re.search(
            r" is .*, compared with .* in the reference rows: (raises|lowers) the score by ", text
        )
    bars = page.evaluate(
        "[...document.querySelectorAll('#reasons i')].map(bar => bar.getBoundingClientRect().width)"
    )
    assert bars == sorted(bars, reverse=True) and bars[-1] > 0
    _nothing_overflows(page)
    assert not wrong


def test_an_event_is_offered_whose_ids_have_a_history(browser: Browser, tmp_path: Path) -> None:  # noqa: F811
    world = _world(tmp_path)
    key = create_key(tmp_path / "api-keys.json", "by-hand", ["score"])
    event = {"transaction_id": 1, "customer_id": 123456, "terminal_id": 654321, "amount": 5}
    with world.server() as server:
        page = browser.new_page()
        _open(page, server, "/")
        expect(page.locator("#about")).to_contain_text("customer_id and terminal_id is made up")
        assert server.post("/v1/score", event | {"event_time": "2018-04-01T10:00:00Z"}).status == 200
        page.reload()
        expect(page.locator("#about")).to_contain_text("has a history here")
        expect(page.get_by_label("customer_id")).to_have_value("123456")
        expect(page.get_by_label("terminal_id")).to_have_value("654321")
        expect(page.get_by_label("event_time")).to_have_value(re.compile("^2018-04-01T10:0"))
        expect(page.get_by_label("API key")).to_be_hidden()
        page.get_by_role("button", name="Score").click()
        row = page.locator("#features tr", has_text="customer_id_count_30d")
        expect(row.locator(".number")).to_have_text("2 payments")
        page.close()
    with world.server("--keys", str(tmp_path / "api-keys.json")) as server:
        page = browser.new_page()
        _open(page, server, "/")
        expect(page.locator("#about")).to_contain_text("customer_id and terminal_id is made up")
        expect(page.locator("#about")).to_contain_text(
            "Put in one that has a history, and in event_time a moment soon after its last events: "
            "features look back from there, 37 days at most."
        )
        expect(page.get_by_label("customer_id")).not_to_have_value("123456")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Score").click()
        expect(page.locator("#decision")).to_be_visible()
        page.close()


QUANTITIES = {
    (3_024_000, "s"): "35 days",
    (7_200, "s"): "2 h",
    (90, "s"): "1.5 min",
    (0, "s"): "0 s",
    (1, "payments"): "1 payment",
    (2, "payments"): "2 payments",
    (1, "entries"): "1 entry",
    (1, "°C"): "1 °C",
    (0, "currency"): "0.00",
    (0.0123, "share"): "1.23 %",
    (1, "0/1"): "yes",
    (12345.678, ""): "12345.7",
    (0.123456, ""): "0.1235",
}


def test_quantities_read_as_people_say_them(browser: Browser, service: Server) -> None:  # noqa: F811
    page = browser.new_page()
    _open(page, service, "/")
    expect(page.get_by_label("amount")).not_to_have_value("")
    said = page.evaluate(
        "pairs => pairs.map(([value, unit]) => quantity(value, unit).filter(Boolean).join(' '))",
        [list(pair) for pair in QUANTITIES],
    )
    assert dict(zip(QUANTITIES, said, strict=True)) == QUANTITIES
    page.close()


def test_names_break_between_their_words(phone: Page, service: Server) -> None:
    _open(phone, service, "/")
    phone.get_by_role("button", name="Score").click()
    names = phone.locator("#features .mono")
    expect(names).to_have_count(len(PUBLISHED.names))
    tops = "names => names.map(name => [...name.childNodes].filter(n => n.nodeType === 3).map(text => {"
    tops += "const range = document.createRange(); range.selectNode(text); return range.getClientRects().length }))"
    assert all(lines == 1 for parts in names.evaluate_all(tops) for lines in parts)


def test_what_is_scored_counts_for_the_next_event(page: Page, service: Server) -> None:
    _open(page, service, "/")
    counts = []
    for _ in range(2):
        page.get_by_label("customer_id").fill("77")
        page.get_by_role("button", name="Score").click()
        row = page.locator("#features tr", has_text="customer_id_count_30d")
        counts.append(int(row.locator(".number").inner_text().split()[0]))
        page.get_by_role("button", name="Another event").click()
        page.evaluate("document.getElementById('result').replaceChildren()")
    assert counts[1] == counts[0] + 1
    expect(page.locator("#rows tr")).to_have_count(2)


@pytest.mark.parametrize(
    ("field", "typed", "said"),
    [
        ("amount", "-5", "-5 is not between 0 and 1000000"),
        ("amount", "a lot", "must be a number"),
        ("amount", "1e999", "not a finite number"),
        ("customer_id", "", "is missing"),
        ("transaction_id", "99999999999999999999", "beyond 64 bits"),
        ("event_time", "2999-01-01T00:00:00Z", "must be between"),
    ],
)
def test_a_mistake_is_shown_next_to_its_field(
    phone: Page, service: Server, field: str, typed: str, said: str
) -> None:
    page = phone
    _open(page, service, "/")
    input_ = page.get_by_label(field)
    expect(input_).not_to_have_value("")
    input_.fill(typed)
    page.get_by_role("button", name="Score").click()
    expect(page.locator(f"#error-{field}")).to_contain_text(said)
    expect(page.locator("#problem")).to_contain_text("422")
    expect(input_).to_have_attribute("aria-invalid", "true")
    expect(input_).to_be_focused()
    _nothing_overflows(page)
    page.get_by_role("button", name="Another event").click()
    expect(page.locator(f"#error-{field}")).to_have_text("")


def test_a_key_is_asked_for_and_kept_nowhere(browser: Browser, tmp_path: Path) -> None:  # noqa: F811
    world = _world(tmp_path)
    key = create_key(tmp_path / "api-keys.json", "by-hand", ["score"])
    with world.server("--keys", str(tmp_path / "api-keys.json")) as server:
        page = browser.new_page()
        _open(page, server, "/")
        expect(page.get_by_label("amount")).not_to_have_value("")
        page.get_by_role("button", name="Score").click()
        asked = "This service asks for an API key: put yours in here."
        expect(page.locator("#key-error")).to_have_text(asked)
        assert page.locator("body").inner_text().count("API key: ") == 1
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Score").click()
        expect(page.locator("#features tr")).to_have_count(len(PUBLISHED.names))
        assert key not in page.locator("#curl").text_content()  # type: ignore[operator]
        kept = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
        assert key not in page.evaluate(kept)
        page.reload()
        expect(page.get_by_label("API key")).to_have_value("")
        page.close()


def test_a_server_without_a_model_says_so(browser: Browser, tmp_path: Path) -> None:  # noqa: F811
    with World(tmp_path).server() as server:
        page = browser.new_page()
        _open(page, server, "/")
        expect(page.locator("#state")).to_contain_text("Not ready")
        expect(page.locator("#about")).to_contain_text("No model is deployed yet")
        expect(page.get_by_role("button", name="Score")).to_be_disabled()
        page.goto(f"http://127.0.0.1:{server.port}/docs")
        expect(page.locator("article.operation").first).to_be_visible()
        page.close()


@pytest.mark.parametrize("width", [360, 390, 1000])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_long_reason_for_not_being_ready_does_not_overflow(
    browser: Browser,  # noqa: F811
    refused: Server,
    width: int,
    scheme: Literal["light", "dark"],
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    _open(page, refused, "/")
    expect(page.locator("#state")).to_contain_text("Version 1 was refused: ")
    assert len(max(page.locator("#state").inner_text().split(), key=len)) > 130
    _nothing_overflows(page)
    page.close()


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Another key than the one that the bundle, whose path is long, was signed with."""
    home = tmp_path_factory.mktemp("refused") / ("long" * 20)
    home.mkdir()
    world = _world(home)
    ensure_keys(home / "other")
    with world.server("--public-key", str(home / "other" / PUBLIC_KEY)) as server:
        yield server


def test_the_document_is_drawn_and_can_be_tried(page: Page, service: Server) -> None:
    wrong = _open(page, service, "/docs")
    operations = page.locator("article.operation")
    expect(operations).to_have_count(len(ROUTES))
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    _nothing_overflows(page)
    score = page.locator("#score")
    expect(score.locator(".try pre").last).to_contain_text("curl -X POST")
    score.get_by_label("reasons").check()
    expect(score.locator(".try pre").last).to_contain_text("/v1/score?reasons=true")
    expect(score.locator(".try")).to_contain_text("What is sent is real. Its events go into the decision log")
    rows = f"rows, at most 1,000; a row is a list of exactly {len(PUBLISHED.names)} numbers"
    expect(page.locator("#schema-Rows")).to_contain_text(rows)
    score.get_by_role("button", name="Send").click()
    expect(score.locator(".reply")).to_contain_text("200 in")
    expect(score.locator(".reply pre")).to_contain_text('"reasons"')
    expect(page.locator("#schema-Event")).to_contain_text("rounded to 2 digits")
    assert not wrong


PLANT = """() => {
    const attempts = [
        () => document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.planted = 1'>"),
        () => document.body.setAttribute("onclick", "window.planted = 2"),
        () => {
            const script = document.createElement("script");
            document.body.append(script);
            script.append("window.planted = 3");
        },
    ];
    for (const attempt of attempts) try { attempt(); } catch (refused) {}
    document.body.click();
}"""


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_only_the_pages_own_scripts_run(browser: Browser, service: Server, path: str) -> None:  # noqa: F811
    page = browser.new_page()
    _open(page, service, path)
    page.evaluate(PLANT)
    page.wait_for_timeout(200)
    assert page.evaluate("window.planted") is None
    page.close()
