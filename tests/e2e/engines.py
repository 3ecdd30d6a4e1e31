"""One small delivery through each engine, and what every engine must come to in the same way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from mlops.deployment import read_deployment
from mlops.settings import Settings
from mlops.storage import read_json
from mlops.tables import read_event_table, read_feature_table
from pipelines.release import RELEASE, Release
from tests.e2e.two_candidates import TWO_CANDIDATES
from usecases.fraud.simulator import simulate
from usecases.fraud.world import World

__all__ = ["ENGINES", "Outcome", "by_kubeflow", "command", "deliver", "outcome"]

MEASURED = ("latency", "size")  # checks that observe how long something took, or a file that says so


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What does not depend on who ran it.

    Fields:
        events, features: fingerprints of the tables.
        figures: of each candidate's test, by its name.
        checks: of the gate, by candidate and name: whether it passed, and on what it observed.
        release: the candidate that was admitted, and its version.
        champion: the version and candidate that serving follows.
    """

    events: str
    features: str
    figures: dict[str, Any]
    checks: dict[str, dict[str, tuple[bool | None, float | None]]]
    release: tuple[str | None, str | None]
    champion: tuple[str, str] | None


def deliver(folder: Path) -> tuple[Path, Path]:
    """A month of payments with 600 cards to train on, and a day after it to be served, a file each."""
    folder.mkdir(parents=True)
    table = simulate(World(customers=600, days=31, seed=3)).to_pandas()
    table["TX_DATETIME"] = table["TX_DATETIME"].astype("datetime64[us]")
    files = folder / "month.parquet", folder / "day.parquet"
    for path, part in zip(files, (table["TX_TIME_DAYS"] < 30, table["TX_TIME_DAYS"] == 30), strict=True):
        table[part].to_parquet(path, index=False)
    return files


def command(home: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """An `mlops` command on a home."""
    return subprocess.run(
        [Path(sys.executable).with_name("mlops"), "--home", str(home), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, **TWO_CANDIDATES},
        check=False,
    )


def by_command_line(home: Path, events: Path) -> subprocess.CompletedProcess[str]:
    """As a person does it."""
    return command(home, "run", "--events", events)


def by_kubeflow(home: Path, events: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """With Kubeflow's local runner; `more` are arguments of the pipeline."""
    pairs = [f"--set={pair}" for pair in (f"events={events}", *more)]
    return command(home, "kubeflow", "run", *pairs, "--json")


def by_prefect(home: Path, events: Path) -> subprocess.CompletedProcess[str]:
    """As a flow on Prefect's embedded server."""
    return command(home, "prefect", "run", "--events", events)


# The engines, each with what runs the whole lifecycle on a new home; the command line is what the others are held to.
ENGINES: dict[str, Callable[[Path, Path], subprocess.CompletedProcess[str]]] = {
    "command line": by_command_line,
    "kubeflow": by_kubeflow,
    "prefect": by_prefect,
}


def outcome(home: Path) -> Outcome:
    """What a run left in its home."""
    settings = Settings(home=home)
    release, deployment = read_json(home / RELEASE, Release), read_deployment(settings.pointer)
    return Outcome(
        events=read_event_table(settings.events).fingerprint,
        features=read_feature_table(settings.features).fingerprint,
        figures={name: _figures(settings, name) for name in sorted(release.verdicts)},
        checks={
            name: {
                check.name: (check.passed, None if check.name in MEASURED else check.observed)
                for check in verdict.checks
            }
            for name, verdict in release.verdicts.items()
        },
        release=(release.candidate, release.version),
        champion=(deployment.champion.version, deployment.champion.candidate) if deployment else None,
    )


def _figures(settings: Settings, candidate: str) -> Any:
    reports = settings.bundles.glob(f"{candidate}-*/bundle/evaluation.json")
    report = max(reports, key=lambda path: path.stat().st_mtime_ns)  # of the last training
    return json.loads(report.read_bytes())["figures"]
