"""The page on features shows what is declared."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from mlops.aggregates import Agg, Nth
from mlops.contract import load_use_case
from mlops.features import Feature

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("features_page", ROOT / "docs" / "features.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current(page: ModuleType) -> None:
    """If not: .venv/bin/python docs/features.py"""
    assert (ROOT / "docs" / "features.md").read_text() == page.render()


def test_every_kind_is_there(page: ModuleType) -> None:
    assert set(page.KINDS) == {kind.__name__ for kind in Feature.__args__}
    assert {*page.AGGREGATES, Nth.__name__} == {kind.__name__ for kind in Agg.__args__}


def test_every_feature_of_the_use_cases_says_what_it_is(page: ModuleType) -> None:
    for package in page.USE_CASES:
        lacking = [name for name, _, text in load_use_case(package).features.describe() if not text]
        assert not lacking, package
