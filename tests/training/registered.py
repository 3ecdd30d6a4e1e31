"""Homes with registered models, made of small bundles; and what other processes do to them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlops.deployment import Deployment, bundle_path, read_deployment
from mlops.errors import MlopsError
from mlops.settings import Settings
from tests.serving.example import World
from tests.training import example
from training import registry, tracking
from training.checks import check
from training.gate import Verdict
from training.registry import champion
from training.results import TrainResult

__all__ = ["House", "Models", "promote_and_die", "promote_slowly", "refused", "roll_back_and_die"]

WRITES = (
    "set_registered_model_tag",
    "set_registered_model_alias",
    "delete_registered_model_alias",
    "set_model_version_tag",
)


class Models:
    """Small models by seed, in signed bundles: real ones, but nobody trained them."""

    def __init__(self, home: Path) -> None:
        self.settings = example.settings(home)
        self._world = World(home)

    def get(self, seed: int) -> TrainResult:
        """What training would have given back; the registry does not look at figures."""
        bundle, digest = self._world.bundle(f"model {seed}", seed=seed)
        figures: Any = None
        return TrainResult(
            name="trees",
            framework="scikit-learn",
            use_case="machines",
            first_day=example.FIRST_DAY,
            figures=figures,
            unlabelled=0,
            onnx_rows=0,
            onnx_max_abs_diff=0.0,
            seed=seed,
            run_id="",
            bundle=bundle,
            digest=digest,
            evaluation=bundle / "evaluation.json",
            evaluation_digest="",
            seconds=0.0,
        )


class House:
    """A home whose models come from elsewhere, and were judged by a gate that likes them all."""

    def __init__(self, settings: Settings, models: Models) -> None:
        self.settings = msgspec.structs.replace(
            settings, signing_key=str(models.settings.keys), user="tester"
        )
        self.models = models

    def train(self, seed: int = 0) -> tuple[TrainResult, Verdict]:
        """A run of this home with the model's bundle, and a verdict about today's champion."""
        made = self.models.get(seed)
        with tracking.tracked_run(self.settings, made.use_case, made.name, {}) as run:
            client = tracking.client(self.settings)
            client.log_artifacts(run.info.run_id, str(made.bundle), "bundle")
        result = msgspec.structs.replace(made, run_id=run.info.run_id)
        return result, self.judge(result)

    def judge(self, result: TrainResult) -> Verdict:
        held = read_deployment(self.settings.pointer)
        return Verdict(
            candidate=result.name,
            run_id=result.run_id,
            digest=result.digest,
            admitted=True,
            checks=(check("support", 30.0, 10.0, True, "30 failures in the test days", "at least 10"),),
            champion=held.champion.digest if held else None,
        )

    def register(self, seed: int = 0) -> str:
        return registry.register(self.settings, *self.train(seed))

    def promote(self, version: str, **said: str) -> tuple[str, str | None]:
        """Promote; return the versions that the pointer names."""
        return self.versions(registry.promote(self.settings, version, **said))

    def rollback(self, **said: str) -> tuple[str, str | None]:
        return self.versions(registry.rollback(self.settings, **said))

    def versions(self, returned: Deployment) -> tuple[str, str | None]:
        held = read_deployment(self.settings.pointer)
        assert held == returned
        return held.champion.version, held.previous.version if held.previous else None

    def published(self) -> Path:
        """What serving reads."""
        held = read_deployment(self.settings.pointer)
        assert held is not None
        return bundle_path(self.settings.pointer, held.champion)

    def source(self, version: str) -> Path:
        """What the registry holds of a version."""
        return Path(tracking.client(self.settings).get_model_version("machines", version).source[7:])

    def status(self) -> registry.Status:
        return registry.status(self.settings)

    def steps(self, version: str) -> list[str]:
        """The stages that a version went through."""
        return [step.stage for step in registry.history(self.settings, version)]


def refused(verdict: Verdict) -> Verdict:
    checks = (msgspec.structs.replace(verdict.checks[0], passed=False, text="Refused: two frauds."),)
    return msgspec.structs.replace(verdict, admitted=False, checks=checks)


def promote_and_die(settings: Settings, version: str, writes: int) -> None:
    """In a process of its own: promote, and be killed right before the write of this number."""
    _die_before(writes)
    registry.promote(settings, version, by="the one that died", why="it was better")


def roll_back_and_die(settings: Settings, writes: int) -> None:
    """In a process of its own: roll back, and be killed right before the write of this number."""
    _die_before(writes)
    registry.rollback(settings, by="the one that died", why="it was worse")


def _die_before(writes: int) -> None:
    done = 0

    def counted(write: Any) -> Any:
        def act(*args: Any, **kwargs: Any) -> Any:
            nonlocal done
            if done == writes:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            return write(*args, **kwargs)

        return act

    patch = pytest.MonkeyPatch()
    for name in WRITES:
        patch.setattr(tracking.MlflowClient, name, counted(getattr(tracking.MlflowClient, name)))
    for name in ("_copy", "write_deployment"):
        patch.setattr(champion, name, counted(getattr(champion, name)))


def promote_slowly(settings: Settings, version: str, start: float) -> str:
    """In a process of its own: promote when the clock says so, slowly between the check and the switch."""
    publish = champion._publish

    def slow(*args: Any) -> None:
        publish(*args)
        time.sleep(0.3)

    patch = pytest.MonkeyPatch()
    patch.setattr(champion, "_publish", slow)
    time.sleep(max(0.0, start - time.time()))
    try:
        registry.promote(settings, version, by=f"for {version}")
    except MlopsError as error:
        return error.line()
    finally:
        patch.undo()
    return ""
