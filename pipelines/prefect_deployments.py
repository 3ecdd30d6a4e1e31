"""What a Prefect server is told: when each flow runs, where, and what follows from an event. It may be told again.

Flow runs wait in a work pool, for a worker of type process that has the home: one runs at a time, as one writes a home.
A pool of another type (Docker, Kubernetes) takes the same deployments.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, NoReturn
from uuid import UUID

import msgspec
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.events.schemas.automations import AutomationCore
from prefect.schedules import Cron

from mlops.errors import ConfigError
from mlops.settings import Settings
from pipelines import flows
from pipelines.environment import as_environment
from pipelines.event_places import told
from pipelines.flows import home_resource
from pipelines.parameters import no_password
from pipelines.prefect_automations import automations_of
from pipelines.prefect_pool import claim, connected, expect_own
from pipelines.prefect_server import prepare

__all__ = ["Deployed", "Plan", "deploy", "work"]

HEARTBEAT_S = 30
_NEVER = "never"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for.

    Fields:
        events: the path or URI that new deliveries are taken from.
        pool: the work pool's name; a home has one of its own.
        against: first day of monitoring's normal period.
        archive: runs by the clock are not to judge whether what is new is fresh as of their day.
        features, monitor, retrain: when they run, five fields of cron, in UTC; or `never`, but on request.
        silence_s: for how long a running flow may send no heartbeat; one comes every 30 s.
    """

    events: str
    pool: str = "mlops"
    against: date | None = None
    archive: bool = False
    features: str = "10 1 * * *"
    monitor: str = "10 3 * * *"
    retrain: str = "10 4 * * 0"
    silence_s: int = 150

    def __post_init__(self) -> None:
        no_password(self.events, "--events", engine="Prefect")
        if self.silence_s < 2 * HEARTBEAT_S:
            raise ConfigError(
                f"{self.silence_s} s is soon passed", where="--silence", todo=f"at least {2 * HEARTBEAT_S}"
            )
        for where, cron in (
            ("features", self.features),
            ("monitor", self.monitor),
            ("retrain", self.retrain),
        ):
            if cron != _NEVER and not _is_clock(cron):
                raise ConfigError(
                    f"{cron!r} is no schedule",
                    where=f"--{where}",
                    todo=f"five fields, as 10 1 * * *, or {_NEVER}",
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
        ConfigError: no server is named, the pool is another home's, or the home has another pool.
        SetupError: the server does not answer, or refuses.
    """
    with connected(settings) as client:
        claim(client, settings, plan.pool)
        against = {"against": plan.against.isoformat()} if plan.against else {}
        source, judged = {"events": told(plan.events)}, {} if plan.archive else {"fresh": True}
        deployments = {
            "features": _deploy(client, flows.features, plan, plan.features, source, by_the_clock=judged),
            "monitor": _deploy(client, flows.monitor, plan, plan.monitor, against),
            "retrain": _deploy(
                client, flows.retrain, plan, plan.retrain, {}, by_the_clock={"regularly": True}
            ),
            "lifecycle": _deploy(client, flows.lifecycle, plan, _NEVER, source),
        }
        automations = {
            automation.name: str(_make_automation(client, automation))
            for automation in automations_of(
                plan.pool,
                home_resource(settings),
                tag=_tag(plan),
                retraining=deployments["retrain"],
                silence=timedelta(seconds=plan.silence_s),
            )
        }
    return Deployed(
        pool=plan.pool,
        deployments={name: str(id_) for name, id_ in deployments.items()},
        automations=automations,
    )


def work(settings: Settings, pool: str, *, wait: bool = False) -> NoReturn:
    """Become the worker of this home's pool: flows get these settings, as their environment.

    Args:
        wait: until there is such a pool, where there is none yet.

    Raises:
        ConfigError: no server is named, there is no such pool, or it is another home's.
        SetupError: the server does not answer, or refuses.
    """
    with connected(settings) as client:
        expect_own(client, settings, pool, wait=wait)
    environment = dict(os.environ)
    prepare(settings.home / "prefect", environment, PREFECT_FLOWS_HEARTBEAT_FREQUENCY=str(HEARTBEAT_S))
    environment |= as_environment(settings)
    line = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"]
    os.execve(sys.executable, [*line, "--no-create-pool-if-not-found"], environment)


def _deploy(
    client: SyncPrefectClient,
    flow: Flow[..., Any],
    plan: Plan,
    cron: str,
    parameters: Mapping[str, Any],
    *,
    by_the_clock: Mapping[str, Any] | None = None,
) -> UUID:
    """A deployment of a flow, by the clock if there is a schedule; else and besides on request."""
    schedule = (
        Cron(cron, timezone="UTC", slug=flow.name, parameters=dict(by_the_clock or {}))
        if cron != _NEVER
        else None
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
    if schedule is None:  # Prefect leaves an earlier one as it is
        for other in client.read_deployment_schedules(made):
            client.delete_deployment_schedule(made, other.id)
    return made


def _tag(plan: Plan) -> str:
    return f"{plan.pool}-flow"


def _make_automation(client: SyncPrefectClient, automation: AutomationCore) -> UUID:
    """Create it, or have the one of its name be as it is."""
    known = client.read_automations_by_name(automation.name)
    if not known:
        return client.create_automation(automation)
    for other in known[1:]:
        client.delete_automation(other.id)
    client.update_automation(known[0].id, automation)
    return known[0].id
