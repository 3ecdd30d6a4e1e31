"""The demo needs no network, no Java of the machine's, and no home folder."""

from __future__ import annotations

import pytest

from tests.system.conftest import Offline

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


def test_the_loop_closes_without_a_network(offline_demo: Offline) -> None:
    summary = offline_demo.summary
    assert summary.retrained and summary.requests_failed == 0
    assert summary.feature_parity_max_abs_diff == 0


def test_the_home_folder_holds_nothing_but_two_libraries_settings(offline_demo: Offline) -> None:
    """Above all no device id, which telemetry would have left there."""
    home = offline_demo.home.parent / "nobody"
    left = {path.parent.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}
    assert left <= {".cache/matplotlib", ".config/matplotlib", ".keras"}
