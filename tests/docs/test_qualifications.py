"""The map of qualifications points only at what is there."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def qualifications() -> ModuleType:
    spec = importlib.util.spec_from_file_location("qualifications", ROOT / "docs" / "qualifications.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # msgspec looks up annotations there
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_data_file_says(qualifications: ModuleType) -> None:
    page = (ROOT / "docs" / "qualifications.md").read_text()
    assert page == qualifications.render(qualifications.read())


def test_every_place_exists(qualifications: ModuleType) -> None:
    places = [path for area in qualifications.read() for ask in area.asks for path in ask.where]
    assert places
    assert [path for path in places if not (ROOT / path).exists()] == []


def test_every_command_exists(qualifications: ModuleType) -> None:
    from pipelines.cli import cli

    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for ask in (ask for area in qualifications.read() for ask in area.asks if ask.command):
        program, name, *_ = ask.command.split()
        if program == "make":
            assert name in targets, ask.command
        elif program == "mlops":
            assert name in cli.commands, ask.command
        else:
            assert ask.command in (
                "kubectl kustomize k8s/overlays/production",
                "torchrun --nproc-per-node 2 -m training",
            )


def test_what_is_here_says_where_and_how_and_what_is_not_says_nothing(qualifications: ModuleType) -> None:
    for ask in (ask for area in qualifications.read() for ask in area.asks):
        assert bool(ask.where) == bool(ask.command) == (ask.evidence != "not yet"), ask.ask
