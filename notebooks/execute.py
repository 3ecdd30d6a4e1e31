"""Runs the notebooks and keeps what they print: `python notebooks/execute.py`, after a change of code or prose."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

__all__ = ["execute", "paths"]

HERE = Path(__file__).parent
PATIENCE_S = 240  # for one cell


def paths() -> list[Path]:
    """The notebooks, in order."""
    return sorted(HERE.glob("[0-9]*.ipynb"))


def execute(path: Path, *, cwd: Path) -> nbformat.NotebookNode:
    """The notebook in `path` with fresh outputs, run in `cwd`.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised.
    """
    notebook = nbformat.read(path, as_version=4)
    # No times of execution in the cells: only what the code says may change the file.
    NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=PATIENCE_S,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(cwd)}},
    ).execute()
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        if cell.cell_type == "code":  # what Java warns of depends on which Java there is
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
    return notebook


if __name__ == "__main__":
    os.environ.pop("MPLBACKEND", None)
    for path in paths():
        nbformat.write(execute(path, cwd=HERE), path)
        print(path.name)
