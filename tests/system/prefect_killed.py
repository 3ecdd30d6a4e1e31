"""A use case whose processes are killed, each once, in the middle of the steps that KILL_IN names.

Where a process gets so far it leaves a mark in the folder KILL_MARKS, and is not killed there again. In the step that
KILL_WORKER_IN names it leaves its mark and waits, for somebody to kill it and its worker.
"""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.two_candidates import USE_CASE

__all__ = ["POINTS", "USE_CASE", "WATCHING"]

# By step: the module and the function of it that is the last to be called. By then each has something half done:
# rows but not what they are, a run that is not ended, a version without verdict, a store that is filled and no record
# of it, an alias without pointer.
POINTS = {
    "ingest": ("pipelines.validate", "write_table_meta"),
    "update_features": ("pipelines.features", "write_table_meta"),
    "plan": ("pipelines.training_plan", "code_digest"),
    "train_one": ("training.tracking", "log_all"),
    "judge": ("training.gate", "checks_of"),
    "register": ("training.registry.candidates", "_log_verdict"),
    "fill_store": ("pipelines.backfill", "_append"),
    "promote": ("training.registry.champion", "write_deployment"),
}
# Of the flows that watch what is served. The last one shows what was registered: the request is still open.
WATCHING = {
    "collect_logs": ("pipelines.collect", "write_event_table"),
    "monitor": ("monitoring.monitor", "write_json"),
    "compute_live_features": ("pipelines.features", "write_table_meta"),
    "show_candidates": ("pipelines.prefect_artifacts", "_key"),
}


def _arm(step: str, marks: Path) -> None:
    place, name = (POINTS | WATCHING)[step]
    module = importlib.import_module(place)
    original: Callable[..., Any] = getattr(module, name)

    def last(*args: Any, **kwargs: Any) -> Any:
        try:
            (marks / step).touch(exist_ok=False)
        except FileExistsError:
            return original(*args, **kwargs)
        if step == "fill_store":
            original(*args, **kwargs)
        if step == os.environ.get("KILL_WORKER_IN"):
            signal.pause()
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(module, name, last)


for _step in filter(None, os.environ.get("KILL_IN", "").split(",")):
    _arm(_step, Path(os.environ["KILL_MARKS"]))
