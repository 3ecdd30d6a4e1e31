"""Imports the scripts that write pages; `docs` is no package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

__all__ = ["load"]

DOCS = Path(__file__).parents[2] / "docs"


def load(name: str) -> ModuleType:
    """The module `docs/name.py`."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # msgspec looks up annotations there
    spec.loader.exec_module(module)
    return module
