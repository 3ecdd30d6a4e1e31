"""The rules that every run of the tests keeps."""

from __future__ import annotations

import ast
import os
import re
import subprocess
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


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import pytest\ndef test_x(): pytest.skip('no gpu')", "1 failed"),
        ("import pytest\n@pytest.mark.skipif(True, reason='no gpu')\ndef test_x(): pass", "1 error"),
        (
            "import pytest\n@pytest.fixture\ndef gpu(): pytest.skip('no gpu')\ndef test_x(gpu): pass",
            "1 error",
        ),
        ("import pytest\npytest.skip('no gpu', allow_module_level=True)", "1 error"),
    ],
)
def test_what_skips_has_failed(tmp_path: Path, source: str, said: str) -> None:
    code, out = _pytest(tmp_path, source)
    assert code != 0 and said in out and "no gpu\nIt may not skip" in out


def test_what_is_expected_to_fail_may(tmp_path: Path) -> None:
    code, out = _pytest(tmp_path, "import pytest\n@pytest.mark.xfail\ndef test_x(): assert False")
    assert code == 0 and "1 xfailed" in out


def _pytest(folder: Path, source: str) -> tuple[int, str]:
    """Exit code and output of a run of one module, with this project's rules."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_it.py").write_text(source)
    line = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*line, "-c", folder / "pytest.ini", folder],
        cwd=TESTS.parent,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout
