"""The world that the tests of serving share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving.example import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A home with a first bundle deployed as version 1."""
    world = World(tmp_path)
    world.deploy("1", world.bundle())
    return world
