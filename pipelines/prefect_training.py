"""Candidates against each other in a flow: trained side by side in processes of their own, judged, entered, shown."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from datetime import date
from pathlib import Path
from typing import Any

from prefect.task_runners import ProcessPoolTaskRunner

from mlops.contract import Effort
from mlops.errors import BundleError, MlopsError
from mlops.settings import Settings
from mlops.signature import verify
from mlops.signing import PUBLIC_KEY
from pipelines import spark
from pipelines.lifecycle import Release, those_trained
from pipelines.prefect_results import Under
from pipelines.prefect_tasks import RETRIES, step
from training.results import TrainResult

__all__ = ["compete"]

_PARALLEL = 2  # processes, with one thread each


def compete(
    settings: Settings,
    names: Sequence[str],
    first_day: date | None,
    *,
    table: Path | None = None,
    seed: int = 0,
    effort: Effort = "quick",
) -> Release:
    """Train candidates side by side, hold each against the gate, enter all into the registry, and show it."""
    spark.stop()  # its memory is theirs now
    tried = 0
    while True:
        try:
            with ProcessPoolTaskRunner(max_workers=_PARALLEL) as processes:
                results = _trained(
                    processes, settings, names, first_day, table=table, seed=seed, effort=effort
                )
                judge = step(settings, "judge")
                judged = [
                    processes.submit(judge, {"settings": settings, "result": result, "table": table})
                    for result in results
                ]
                verdicts = [future.result() for future in judged]
            break
        except BrokenProcessPool:  # what came of the others is kept
            tried += 1
            if tried > RETRIES:
                raise MlopsError(
                    f"a process was killed, {tried} times", where="training", todo="is there memory enough?"
                ) from None
    release: Release = step(settings, "register")(settings, list(results), verdicts)
    step(settings, "show_candidates")(settings, list(results))
    step(settings, "show_gate")(release)
    return release


def _trained(
    processes: ProcessPoolTaskRunner,
    settings: Settings,
    names: Sequence[str],
    first_day: date | None,
    **details: Any,
) -> tuple[TrainResult, ...]:
    """What came of the candidates, now or when all was the same, and still lies where it was put."""
    train, given = step(settings, "train_one"), {"settings": settings, "first_day": first_day, **details}
    keys: dict[str, str] = processes.submit(
        step(settings, "training_keys"), {**given, "candidates": list(names)}
    ).result()

    def begin(chosen: Sequence[str], *, anew: bool = False) -> dict[str, Callable[[], TrainResult]]:
        return {
            name: processes.submit(
                train.with_options(cache_policy=Under(name=keys[name]), refresh_cache=anew),
                {**given, "candidate": name},
            ).result
            for name in chosen
        }

    results = those_trained(begin(names))
    gone = [result.name for result in results if not _is_there(settings, result)]
    if gone:  # another training of the same days has taken its place
        again = {result.name: result for result in those_trained(begin(gone, anew=True))}
        results = tuple(again.get(result.name, result) for result in results)
    return results


def _is_there(settings: Settings, result: TrainResult) -> bool:
    """Whether the bundle and the scores that were kept of a training still lie where it put them."""
    try:
        bundle = verify(result.bundle, settings.keys / PUBLIC_KEY).digest
        scores = hashlib.sha256(result.evaluation.read_bytes()).hexdigest()
    except (BundleError, FileNotFoundError):
        return False
    return (bundle, scores) == (result.digest, result.evaluation_digest)
