"""One small Spark for all tests of the pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from mlops.settings import Settings
from pipelines.spark import session, stop


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """A local session with two threads."""
    home: Path = tmp_path_factory.mktemp("spark")
    yield session(Settings(home=home, spark_master="local[2]", spark_memory="1g"))
    stop()
