"""What the tests of protocols share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.example import World
from tests.serving.protocols.environments import installed
from tests.serving.protocols.worker import Worker, working


@pytest.fixture(scope="module")
def at_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Worker]]:
    """A home with a first bundle deployed as version 1, and a worker of it that the tests of a module share."""
    world = World(tmp_path_factory.mktemp("at-work"))
    world.deploy("1", world.bundle())
    with working(world) as worker:
        yield world, worker


@pytest.fixture(scope="module")
def worker(at_work: tuple[World, Worker]) -> Worker:
    """That worker."""
    return at_work[1]


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of the environment that has the platforms' own clients."""
    return installed(tmp_path_factory.mktemp("clients"))
