"""The workshop's notebooks run, leave nothing behind, and were committed with the outputs that they give today."""

from __future__ import annotations

import importlib.util
import json
import re
from itertools import zip_longest
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbformat import NotebookNode

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?")
MACHINE = re.compile(r"(?<![\w.])/(?:work|root|home|tmp|var|Users)\b|[A-Z]:\\\\")

notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def _load_execute() -> ModuleType:
    spec = importlib.util.spec_from_file_location("execute_notebooks", ROOT / "notebooks" / "execute.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _text(cell: NotebookNode) -> str:
    """What a cell printed and showed, pictures aside."""
    return "\n".join(one.text if "text" in one else one.data.get("text/plain", "") for one in cell.outputs)


def _kinds(cell: NotebookNode) -> list[list[str]]:
    return [[one.output_type, *sorted(one.get("data", ()))] for one in cell.outputs]


def _numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in NUMBER.findall(text)]


def test_there_are_notebooks_and_all_are_executed_by_the_script() -> None:
    assert NOTEBOOKS
    assert _load_execute().paths() == NOTEBOOKS


@pytest.mark.timeout(600)
@notebooks
def test_a_notebook_runs_anywhere_and_gives_the_committed_outputs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {name: tmp_path / name for name in ("home", "temporary", "current")}
    for folder in folders.values():
        folder.mkdir()
    monkeypatch.setenv("HOME", str(folders["home"]))
    monkeypatch.setenv("TMPDIR", str(folders["temporary"]))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # this checkout, whichever one the environment belongs to
    monkeypatch.delenv("MPLBACKEND", raising=False)

    fresh = _load_execute().execute(path, cwd=folders["current"])  # raises if a cell does

    assert not list(folders["current"].iterdir())
    assert not list(folders["temporary"].glob("workshop-*"))
    for was, now in zip_longest(_code(nbformat.read(path, as_version=4)), _code(fresh)):
        assert _kinds(now) == _kinds(was), now.source
        assert NUMBER.sub("#", _text(now)) == NUMBER.sub("#", _text(was))
        # Training gives slightly other figures on another kind of CPU.
        assert _numbers(_text(now)) == pytest.approx(_numbers(_text(was)), rel=0.02, abs=0.02), now.source


@notebooks
def test_a_notebook_was_committed_executed_from_top_to_bottom(path: Path) -> None:
    cells = _code(nbformat.read(path, as_version=4))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [cell.source for cell in cells if not cell.outputs]
    assert not [cell.source for cell in cells if any(one.output_type == "error" for one in cell.outputs)]
    assert any("image/png" in kind for cell in cells for kind in _kinds(cell))


@notebooks
def test_a_committed_notebook_says_nothing_of_the_machine_or_the_hour(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    for one in (one for cell in _code(notebook) for one in cell.outputs if "data" in one):
        one.data.pop("image/png", None)  # whose letters are random
    assert not MACHINE.findall(json.dumps(notebook))
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert not [cell.id for cell in notebook.cells if cell.metadata]
    assert path.stat().st_size < 300_000
