"""What every test has: no telemetry, a home of its own, and no way to skip unnoticed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from mlops.quiet import telemetry_off
from mlops.settings import Settings
from pipelines.spark import session as spark_session
from pipelines.spark import stop

# Node ids, or their beginnings, of tests that may skip, each with the reason. A skip that is not here fails the run.
ALLOWED_SKIPS: dict[str, str] = {}

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

UNEXPECTED_SKIPS: list[tuple[str, str]] = []

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


def _note_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    expected_failure = hasattr(report, "wasxfail")
    if report.skipped and not expected_failure and not report.nodeid.startswith(tuple(ALLOWED_SKIPS)):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        UNEXPECTED_SKIPS.append((report.nodeid, reason))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Notes a test that skipped."""
    _note_skip(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Notes a module that skipped as a whole."""
    _note_skip(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the run where a test skipped that may not."""
    if UNEXPECTED_SKIPS and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says which ones they were."""
    if UNEXPECTED_SKIPS:
        terminalreporter.section("skipped, but not in ALLOWED_SKIPS of tests/conftest.py", red=True)
        for nodeid, reason in UNEXPECTED_SKIPS:
            terminalreporter.write_line(f"{nodeid}: {reason}", red=True)
