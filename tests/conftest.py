"""What every test has: no telemetry, a home of its own, and no way to skip unnoticed."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from typing import TypeVar

import pytest
from pyspark.sql import SparkSession

from mlops.quiet import telemetry_off
from mlops.settings import Settings
from pipelines.spark import session as spark_session
from pipelines.spark import stop

# Node ids, or their beginnings, of tests that may skip, each with the reason. Any other that skips has failed.
ALLOWED_SKIPS: dict[str, str] = {}

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

# Settings of whoever runs the tests that would lead them to other things than their own.
WHERE_THINGS_ARE = {
    "usecase",
    "tracking_uri",
    "signing_key",
    "store",
    "events_uri",
    "quarantine_uri",
    "features_uri",
}

# Not in a fixture: test modules import the libraries when they are collected.
telemetry_off()


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """MLOPS_HOME and PREFECT_HOME in a temporary folder, for this process and those that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("MLOPS_HOME", str(folder))
        patch.setenv("PREFECT_HOME", str(folder / "prefect"))
        for name in os.environ.keys() & {f"MLOPS_{field.upper()}" for field in WHERE_THINGS_ARE}:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """A local session with two threads: the one that all tests of a process share, as there can be no second."""
    settings = Settings(home=tmp_path_factory.mktemp("spark"), spark_master="local[2]", spark_memory="1g")
    yield spark_session(settings)
    stop()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out, on another system, what only Linux answers."""
    if sys.platform != "linux":
        foreign = [item for item in items if item.get_closest_marker("linux")]
        config.hook.pytest_deselected(items=foreign)
        items[:] = [item for item in items if item not in foreign]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fails a test that skipped and may not."""
    return _no_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fails a module that skipped as a whole."""
    return _no_skip((yield))


def _no_skip(report: Report) -> Report:
    expected_failure = hasattr(report, "wasxfail")
    if report.skipped and not expected_failure and not report.nodeid.startswith(tuple(ALLOWED_SKIPS)):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{reason}\nIt may not skip: it is not in ALLOWED_SKIPS of tests/conftest.py."
    return report
