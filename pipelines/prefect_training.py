"""Candidates against each other in a flow: trained side by side in processes of their own, judged, entered, shown."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from prefect.task_runners import ProcessPoolTaskRunner

from mlops.contract import Effort
from mlops.errors import BundleError, MlopsError
from mlops.settings import Settings
from mlops.signature import verify
from mlops.signing import PUBLIC_KEY
from pipelines import spark
from pipelines.lifecycle import Release, TrainingPlan, those_trained
from pipelines.prefect_results import Under
from pipelines.prefect_tasks import RETRIES, step
from training.results import TrainResult

__all__ = ["compete"]

_PARALLEL = 2  # processes, with one thread each


def compete(
    settings: Settings,
    plan: TrainingPlan,
    *,
    table: Path | None = None,
    seed: int = 0,
    effort: Effort = "quick",
) -> Release:
    """Train what is planned side by side, hold each against the gate, enter all into the registry, and show it."""
    spark.stop()  # its memory is theirs now
    tried = 0
    while True:
        try:
            with ProcessPoolTaskRunner(max_workers=_PARALLEL) as processes:
                results = _trained(processes, settings, plan, table=table, seed=seed, effort=effort)
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
    plan: TrainingPlan,
    **details: Any,
) -> tuple[TrainResult, ...]:
    """What came of the candidates, now or when all was the same, and still lies where it was put."""
    train, pinned = step(settings, "train_one"), {"first_day": plan.day, "fingerprint": plan.fingerprint}

    def begin(chosen: Iterable[str], *, anew: bool = False) -> dict[str, Callable[[], TrainResult]]:
        return {
            name: processes.submit(
                train.with_options(
                    cache_policy=Under(name=f"trained/{name}-{plan.keys[name]}"), refresh_cache=anew
                ),
                {"settings": settings, "candidate": name, **pinned, **details},
            ).result
            for name in chosen
        }

    results = those_trained(begin(plan.keys))
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
