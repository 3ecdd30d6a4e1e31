"""The world that the tests of serving share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.example import Server, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A home with a first bundle deployed as version 1."""
    world = World(tmp_path)
    world.deploy("1", world.bundle())
    return world


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Server]]:
    """Such a home, and a server of it that the tests of a module share."""
    world = World(tmp_path_factory.mktemp("shared"))
    world.deploy("1", world.bundle())
    with world.server() as server:
        yield world, server


@pytest.fixture
def server(shared: tuple[World, Server]) -> Server:
    """That server."""
    return shared[1]
