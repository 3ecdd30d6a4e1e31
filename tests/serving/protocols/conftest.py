"""What the tests of protocols share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving.protocols.environments import installed


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of the environment that has the platforms' own clients."""
    return installed(tmp_path_factory.mktemp("clients"))
