"""The page on what is seen of the service names every metric and every alert."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_is_current() -> None:
    """If not: .venv/bin/python docs/observability.py"""
    spec = importlib.util.spec_from_file_location("observability_page", ROOT / "docs" / "observability.py")
    assert spec is not None and spec.loader is not None
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    assert (ROOT / "docs" / "observability.md").read_text() == page.render()
