"""What a Prefect server is told: when each flow runs, where, and what follows from an event. It may be told again.

Flow runs wait in a work pool, for a worker of type process that has the home: one runs at a time, as one writes a home.
A pool of another type (Docker, Kubernetes) takes the same deployments.

When a flow's process dies its worker says so. When the worker dies, too, heartbeats stay away, and the server says so.
Either way the run has crashed, and the server begins the same run again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

import msgspec
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import StateType
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.events import EventTrigger
from prefect.events.actions import ActionTypes, ChangeFlowRunState, RunDeployment
from prefect.events.schemas.automations import AutomationCore, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Cron
from prefect.workers.process import ProcessWorker

from mlops.errors import ConfigError, SetupError
from mlops.settings import Settings
from mlops.storage import is_remote
from pipelines import flows
from pipelines.environment import as_environment
from pipelines.prefect_server import named_server, prepare

__all__ = ["Deployed", "Plan", "deploy", "work"]

HEARTBEAT_S = 30
_PAUSE = timedelta(seconds=15)
_ENDED = ("Completed", "Failed", "Crashed", "Cancelled", "Cancelling", "TimedOut")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for.

    Fields:
        events: the path or URI that new deliveries are taken from.
        pool: the work pool's name; a home has one of its own.
        against: first day of monitoring's normal period.
        features, monitor, retrain: when they run, five fields of cron, in UTC.
        silence_s: for how long a running flow may send no heartbeat; one comes every 30 s.
    """

    events: str
    pool: str = "mlops"
    against: date | None = None
    features: str = "10 1 * * *"
    monitor: str = "10 3 * * *"
    retrain: str = "10 4 * * 0"
    silence_s: int = 150

    def __post_init__(self) -> None:
        if self.silence_s < 2 * HEARTBEAT_S:
            raise ConfigError(
                f"{self.silence_s} s is soon passed", where="--silence", todo=f"at least {2 * HEARTBEAT_S}"
            )
        for where, cron in (
            ("features", self.features),
            ("monitor", self.monitor),
            ("retrain", self.retrain),
        ):
            if not _is_clock(cron):
                raise ConfigError(
                    f"{cron!r} is no schedule", where=f"--{where}", todo="five fields, as 10 1 * * *"
                )


def _is_clock(cron: str) -> bool:
    try:
        Cron(cron)
    except ValueError:
        return False
    return len(cron.split()) == 5  # Prefect takes seconds as a sixth, and last


class Deployed(msgspec.Struct, frozen=True, kw_only=True):
    """What the server has now: ids by name."""

    pool: str
    deployments: dict[str, str]
    automations: dict[str, str]


def deploy(settings: Settings, plan: Plan) -> Deployed:
    """Have the server that PREFECT_API_URL names run this home's flows.

    Raises:
        ConfigError: no server is named, or a schedule is none.
        SetupError: the server does not answer.
    """
    url = named_server()
    prepare(settings.home / "prefect", os.environ)
    with get_client(sync_client=True) as client:
        if (problem := client.api_healthcheck()) is not None:
            raise SetupError(
                "Prefect does not answer", where=url, todo="start it, or name another"
            ) from problem
        _make_pool(client, plan.pool)
        against = {"against": plan.against.isoformat()} if plan.against else {}
        source = {"events": plan.events if is_remote(plan.events) else str(Path(plan.events).absolute())}
        deployments = {
            "features": _deploy(flows.features, plan, plan.features, source),
            "monitor": _deploy(flows.monitor, plan, plan.monitor, against),
            "retrain": _deploy(flows.retrain, plan, plan.retrain, {}, by_the_clock={"regularly": True}),
            "lifecycle": _deploy(flows.lifecycle, plan, "", source),
        }
        automations = {
            automation.name: str(_make_automation(client, automation))
            for automation in _automations(settings, plan, deployments["retrain"])
        }
    return Deployed(
        pool=plan.pool,
        deployments={name: str(id_) for name, id_ in deployments.items()},
        automations=automations,
    )


def work(settings: Settings, pool: str) -> NoReturn:
    """Become the worker of this home's pool: flows get these settings, as their environment."""
    named_server()
    environment = dict(os.environ)
    prepare(settings.home / "prefect", environment, PREFECT_FLOWS_HEARTBEAT_FREQUENCY=str(HEARTBEAT_S))
    environment |= as_environment(settings)
    line = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"]
    os.execve(sys.executable, [*line, "--no-create-pool-if-not-found"], environment)


def _make_pool(client: SyncPrefectClient, name: str) -> None:
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(
            WorkPoolCreate(name=name, type="process", base_job_template=template, concurrency_limit=1)
        )
    else:
        client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=1))


def _deploy(
    flow: Flow[..., Any],
    plan: Plan,
    cron: str,
    parameters: Mapping[str, Any],
    *,
    by_the_clock: Mapping[str, Any] | None = None,
) -> UUID:
    """A deployment of a flow, by the clock if there is a schedule; else and besides on request."""
    schedule = (
        Cron(cron, timezone="UTC", slug=flow.name, parameters=dict(by_the_clock or {})) if cron else None
    )
    deployment = RunnerDeployment.from_flow(
        flow,
        name=plan.pool,
        schedules=[schedule] if schedule else [],
        parameters=dict(parameters),
        tags=[_tag(plan)],
        work_pool_name=plan.pool,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    made: UUID = deployment.apply()
    return made


def _tag(plan: Plan) -> str:
    return f"{plan.pool}-flow"


def _automations(settings: Settings, plan: Plan, retraining: UUID) -> list[AutomationCore]:
    runs = {
        "match": ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
        "match_related": ResourceSpecification(
            {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{_tag(plan)}"}
        ),
        "for_each": {"prefect.resource.id"},
    }
    alive = {"prefect.flow-run.heartbeat", "prefect.flow-run.Running", "prefect.flow-run.Pending"}
    return [
        _automation(
            f"{plan.pool}: train again when monitoring asks for it",
            EventTrigger(
                expect={flows.RETRAIN_DUE},
                match=ResourceSpecification({"prefect.resource.id": flows.home_resource(settings)}),
                posture=Posture.Reactive,
                threshold=1,
            ),
            RunDeployment(deployment_id=retraining),
        ),
        _automation(
            f"{plan.pool}: a run that is silent has crashed",
            EventTrigger(
                after=alive,
                expect=alive | {f"prefect.flow-run.{state}" for state in _ENDED},
                posture=Posture.Proactive,
                threshold=1,
                within=timedelta(seconds=plan.silence_s),
                **runs,
            ),
            ChangeFlowRunState(state=StateType.CRASHED, message="no heartbeat: its worker is gone"),
        ),
        _automation(
            f"{plan.pool}: begin a crashed run again",
            EventTrigger(  # not at once: its process may not be gone yet, and would have it crash once more
                after={"prefect.flow-run.Crashed"},
                expect={f"prefect.flow-run.{state}" for state in ("Scheduled", "AwaitingRetry", "Pending")},
                posture=Posture.Proactive,
                threshold=1,
                within=_PAUSE,
                **runs,
            ),
            ChangeFlowRunState(state=StateType.SCHEDULED, name="AwaitingRetry", message="it had crashed"),
        ),
    ]


def _automation(name: str, trigger: EventTrigger, action: ActionTypes) -> AutomationCore:
    return AutomationCore(name=name, trigger=trigger, actions=[action])


def _make_automation(client: SyncPrefectClient, automation: AutomationCore) -> UUID:
    """Create it, or have the one of its name be as it is."""
    known = client.read_automations_by_name(automation.name)
    if not known:
        return client.create_automation(automation)
    for other in known[1:]:
        client.delete_automation(other.id)
    client.update_automation(known[0].id, automation)
    return known[0].id
