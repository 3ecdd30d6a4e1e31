"""The map of qualifications points only at what is there, and names tests that have to do with its commands."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from pipelines.cli import cli
from pipelines.evidence import named_tests
from tests.docs.loading import load

ROOT = Path(__file__).parents[2]
TIERS = {"test": False, "test-system": True}  # whether its tests are marked `system`


HELPERS = ("pipelines.tables", "pipelines.workers")
qualifications = load("qualifications")
ASKS = [ask for area in qualifications.read() for ask in area.asks]
HERE = [ask for ask in ASKS if ask.command]


def test_the_page_is_what_the_rows_and_the_record_say() -> None:
    page = (ROOT / "docs" / "qualifications.md").read_text()
    assert page == qualifications.render(qualifications.read(), qualifications.recorded())


def test_the_record_has_nothing_that_no_row_asks_for() -> None:
    assert [shown for shown in qualifications.recorded() if not any(map(shown.is_of, ASKS))] == []


def test_every_place_exists() -> None:
    places = [path for ask in ASKS for path in ask.where]
    assert places
    assert [path for path in places if not (ROOT / path).exists()] == []


def test_every_ask_stands_once() -> None:
    assert len({ask.ask for ask in ASKS}) == len(ASKS)


def test_what_is_here_says_where_how_and_by_which_tests_and_what_is_not_says_nothing() -> None:
    assert [ask.ask for ask in ASKS if not bool(ask.where) == bool(ask.command) == bool(ask.tests)] == []
    assert [ask.ask for ask in ASKS if not ask.command and ask.at_most != "ran"] == []


@pytest.mark.parametrize("ask", HERE, ids=lambda ask: ask.ask)
def test_a_row_names_tests_and_a_command_that_exist(ask: Any) -> None:
    texts, systems = [], set()
    for selector in ask.tests:
        for test in named_tests(ROOT, selector):
            texts.append(ROOT / test.node.partition("::")[0])
            systems.add("system" in test.marks)
    files = [path.read_text() for path in dict.fromkeys(texts)]
    program, *words = shlex.split(ask.command)
    if program == "mlops":
        names, callback = _parsed(words)
        assert any(_calls(text, names, callback) for text in files), "no test runs this, or what it runs"
    elif program == "make":
        assert words[0] in re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[0] not in TIERS or TIERS[words[0]] in systems, "no test is of that tier"
    else:
        assert any(f'"{Path(program).name}"' in text or program in text for text in files), (
            "no test starts this"
        )


def test_a_command_that_is_none_is_noticed() -> None:
    for line in ("nonesuch", "train --nonesuch", "bench nonesuch"):
        with pytest.raises(click.UsageError):
            _parsed(line.split())


def _parsed(words: list[str]) -> tuple[list[str], object]:
    """The names of the command that the words choose, and its function; UsageError if they make none."""
    context, names = click.Context(cli, info_name="mlops"), []
    command: click.Command = cli
    while isinstance(command, click.Group):
        _, words, _ = command.make_parser(context).parse_args(list(words))
        name, command, words = command.resolve_command(context, words)
        names.append(name)
        context = click.Context(command, info_name=name, parent=context)
    command.make_parser(context).parse_args(list(words))
    return names, command.callback


def _calls(text: str, names: list[str], callback: object) -> bool:
    """Whether a test file has the command's name as a word of its own, or imports a module that the command calls."""
    steps = _imported(inspect.getsource(inspect.unwrap(callback)))
    words = {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
    return bool(steps & _imported(text)) or set(names) <= words


def _imported(text: str) -> set[str]:
    """The modules of `pipelines` that a text imports, in whichever way, but those that only show and collect."""
    names = {
        name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and node.module
        for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
    }
    return {name for name in names if name.startswith("pipelines.") and name not in HELPERS}
