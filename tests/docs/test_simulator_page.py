"""The page on the simulated world shows every knob, and what it says is what comes out."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from usecases.fraud.world import World

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulator_page", ROOT / "docs" / "simulator.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_simulator_says(page: ModuleType) -> None:
    assert (ROOT / "docs" / "simulator.md").read_text() == page.render()


def test_every_knob_is_turned_once_at_least(page: ModuleType) -> None:
    turned = {text.partition("=")[0] for knob in page.KNOBS for text in knob.sets}
    assert turned == set(World.__struct_fields__)
