"""The lifecycle on a home whose processes are killed, and what must be the same there and where nobody was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.dataset as ds

from mlops.settings import Settings
from mlops.tables import read_batches
from pipelines.store import stats
from tests.e2e.engines import Outcome, outcome
from tests.system.prefect_house import House, kill, wait
from training import registry, tracking

__all__ = ["Disturbed", "Left", "assert_same", "completed", "disturbed", "left"]


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """What a lifecycle left in its home.

    Fields:
        versions: the registry's steps, without what is drawn and the time of day.
        runs: how many MLflow has, by how they ended.
        events, features: the ids of each row.
        stored: what the online store counts, but for the place that it takes.
    """

    outcome: Outcome
    versions: list[Any]
    runs: dict[str, int]
    events: list[Any]
    features: list[Any]
    batches: int
    stored: dict[str, Any]


def left(home: Path) -> Left:
    """What lies in a home now."""
    settings = Settings(home=home, usecase="tests.e2e.two_candidates")
    counts: dict[str, Any] = msgspec.to_builtins(stats(settings))
    runs = tracking.client(settings).search_runs([tracking.prepare_tracking(settings, "fraud")])
    return Left(
        outcome=outcome(home),
        versions=[
            (step.version, step.stage, step.action, step.replaced) for step in registry.history(settings)
        ],
        runs=Counter(run.info.status for run in runs),
        events=_ids(settings.events),
        features=_ids(settings.features),
        batches=len(read_batches(settings.events)),
        stored={name: value for name, value in counts.items() if name not in ("store", "megabytes")},
    )


def _ids(table: Path) -> list[Any]:
    ids: list[Any] = ds.dataset(table, format="parquet").to_table(["transaction_id"])[0].to_pylist()
    return sorted(ids)


class Disturbed(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is killed.

    Fields:
        run: its id.
        steps: in which something is killed; in the last the worker, and all with it.
        kill: waits for that one, kills, and starts another worker.
    """

    home: Path
    pool: str
    run: str
    steps: Sequence[str]
    kill: Callable[[], None]


@contextmanager
def disturbed(
    server: House,
    folder: Path,
    events: Path,
    processes: Sequence[str],
    worker: str,
    *,
    begin: Callable[[str], str] | None = None,
) -> Iterator[Disturbed]:
    """A run, begun. In some steps the process of the flow, or of a training, dies; and all there is in one.

    Args:
        begin: begins the run in a pool, and returns its id; a lifecycle's, unless given.
    """
    home, marks, pool = folder / "home", folder / "marks", f"{worker}-{len(processes)}"
    marks.mkdir(parents=True)
    deadly = {
        "MLOPS_USECASE": "tests.system.prefect_killed",
        "KILL_MARKS": str(marks),
        "KILL_IN": ",".join([*processes, worker]),
        "KILL_WORKER_IN": worker,
    }
    server.deploy(home, pool, "--silence", 60, events=events)
    with ExitStack() as stack:
        first = stack.enter_context(server.worker(home, pool, **deadly))
        run = begin(pool) if begin else server.start(pool, "lifecycle")

        def act() -> None:
            wait(
                lambda: (marks / worker).exists() or server.run(run)["state_type"] in ("COMPLETED", "FAILED"),
                within_s=900,
                what=lambda: str(server.run(run)["state"]),
            )
            kill(first)
            stack.enter_context(server.worker(home, pool, **deadly))

        yield Disturbed(home=home, pool=pool, run=run, steps=[*processes, worker], kill=act)


def completed(server: House, killed: Disturbed) -> dict[str, Any]:
    """Wait until the run that was killed has ended, and well; and all that was to be killed was."""
    ended = server.ended(killed.run, within_s=900)
    assert ended["state_type"] == "COMPLETED", ended["state"]
    assert {mark.name for mark in killed.home.with_name("marks").iterdir()} == {*killed.steps}
    return ended


def assert_same(server: House, killed: Disturbed, expected: Left) -> None:
    """Wait until the run that was killed has ended: it came to the same, and nothing is double."""
    ended = completed(server, killed)
    apart = {"train_one", "judge"}  # those have processes of their own
    assert (
        ended["run_count"] >= len({*killed.steps[:-1]} - apart) + 2
    )  # more where a loaded machine was silent

    now = left(killed.home)
    for field in ("outcome", "versions", "batches", "stored"):
        assert getattr(now, field) == getattr(expected, field)
    assert now.events == expected.events and now.features == expected.features  # a long difference
    assert len({*now.events}) == len(now.events) and len({*now.features}) == len(now.features)
    runs = dict(now.runs)
    assert runs.pop("KILLED", 0) <= (2 if "train_one" in killed.steps else 0)  # both train side by side
    assert runs == expected.runs == {"FINISHED": 2}
