"""The rules that every run of the tests keeps."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import pytest_collection_modifyitems

TESTS = Path(__file__).parent
# What only Linux has, as far as it was met.
FOREIGN = re.compile(
    r"/proc/|sched_getaffinity|\.rlimit\(|os\.fdatasync|\.num_fds\(\) > |memory_maps|/dev/shm"
)
MARK = r"mark\.(linux|system|prove)\b"
MODULE_MARK = re.compile(rf"^pytestmark = .*{MARK}", re.MULTILINE)


def test_elsewhere_what_only_linux_answers_is_left_out_and_said_to_be(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_out: list[pytest.Item] = []
    config = SimpleNamespace(hook=SimpleNamespace(pytest_deselected=lambda items: left_out.extend(items)))
    marked, plain = (
        pytest.Function.from_parent(request.node.parent, name="x", callobj=lambda: None) for _ in "ab"
    )
    marked.add_marker("linux")
    for platform, gone in (("linux", []), ("darwin", [marked])):
        items = [marked, plain]
        monkeypatch.setattr(sys, "platform", platform)
        pytest_collection_modifyitems(config, items)  # type: ignore[arg-type]
        assert (items, left_out) == ([one for one in (marked, plain) if one not in gone], gone)


def test_a_test_of_the_first_tier_that_looks_into_linux_says_so() -> None:
    for path in TESTS.rglob("*.py"):
        text = path.read_text()
        if path == Path(__file__) or {"prove", "system"} & set(path.parts) or MODULE_MARK.search(text):
            continue
        lines = text.splitlines()
        for node in ast.parse(text).body:
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            source = "\n".join(lines[first - 1 : node.end_lineno])
            if FOREIGN.search(source):
                # What is no test is asked for by tests of the same file.
                is_test = isinstance(node, ast.FunctionDef) and node.name.startswith("test")
                assert re.search(MARK, source if is_test else text), f"{path}:{first}"
