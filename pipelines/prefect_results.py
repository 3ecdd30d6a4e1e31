"""What is kept of a step's run, as JSON in the home, and when it stands for running the step again.

A step is run once in a flow run: begun again, after it was killed or a step had failed, the run takes up where it was,
and what it judged and decided stays. A training is run once ever, as long as nothing has changed that it follows from.
What it follows from is determined once in a run, too: a run that goes on with other code, as that of a new image, does
not train, and register, the same candidate twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from prefect.cache_policies import CachePolicy
from prefect.serializers import Serializer
from pydantic import Field

import mlops.errors
from mlops.deployment import Deployment
from mlops.errors import InputError, MlopsError
from monitoring.results import MonitorResult, RetrainRequest
from pipelines.backfill import BackfillResult
from pipelines.features import FeaturesResult
from pipelines.incremental import UpdateResult
from pipelines.release import Release
from pipelines.report import ValidateResult
from pipelines.training_plan import TrainingPlan, digest_of
from pipelines.watching import Live
from training.gate import Verdict
from training.results import TrainResult

if TYPE_CHECKING:
    from prefect.context import TaskRunContext

__all__ = ["JsonResults", "OncePerRun", "Under"]

_KINDS: dict[str, type[msgspec.Struct]] = {
    kind.__name__: kind
    for kind in (
        BackfillResult,
        Deployment,
        FeaturesResult,
        Live,
        MonitorResult,
        Release,
        RetrainRequest,
        TrainResult,
        TrainingPlan,
        UpdateResult,
        ValidateResult,
        Verdict,
    )
}


class JsonResults(Serializer):
    """Results of steps, and errors, as JSON that says which kind it is. It is read as one of these kinds, or not."""

    type: str = Field(default="mlops-json", frozen=True)

    def dumps(self, obj: Any) -> bytes:
        """One of the kinds, an error, or what JSON knows."""
        kind, value = "", msgspec.to_builtins(obj, enc_hook=_told)
        if isinstance(obj, msgspec.Struct):
            kind = type(obj).__name__
            if _KINDS.get(kind) is not type(obj):
                raise TypeError(f"{type(obj)} is no result of a step")
        elif isinstance(obj, BaseException):
            kind = "error"
        return msgspec.json.encode({"kind": kind, "value": value})

    def loads(self, blob: bytes) -> Any:
        """What was kept.

        Raises:
            InputError: it is something else.
        """
        try:
            kept = msgspec.json.decode(blob, type=_Kept)
            if kept.kind == "error":
                return _raised(msgspec.convert(kept.value, _Error))
            if not kept.kind:
                return kept.value
            return msgspec.convert(kept.value, _KINDS[kept.kind], dec_hook=lambda kind, value: kind(value))
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            raise InputError(
                f"not a step's result: {error}", todo="remove it; the step is run again"
            ) from None


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    value: Any


class _Error(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    what: str
    where: str | None = None
    todo: str = ""


def _told(value: Any) -> Any:
    name = type(value).__name__
    if isinstance(value, MlopsError):
        return _Error(name=name, what=value.what, where=value.where, todo=value.todo)
    if isinstance(value, BaseException):
        return _Error(name=name, what=str(value))
    return str(value)  # paths


def _raised(kept: _Error) -> BaseException:
    if kept.name not in mlops.errors.__all__:
        return RuntimeError(f"{kept.name}: {kept.what}")
    kind: type[MlopsError] = getattr(mlops.errors, kept.name)
    return kind(kept.what, where=kept.where, todo=kept.todo)


class OncePerRun(CachePolicy):
    """The same step with the same arguments, in the same flow run."""

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,
    ) -> str | None:
        """The name that the result is kept under; none outside of a flow run."""
        run = task_ctx.task_run.flow_run_id
        return f"{run}/{task_ctx.task.name}-{digest_of(inputs)}" if run else None


@dataclass
class Under(CachePolicy):
    """Whatever was kept under this name."""

    name: str = ""

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,
    ) -> str | None:
        """The name."""
        return self.name
