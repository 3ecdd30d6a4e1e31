"""What a Prefect server does of itself: it starts a retraining by an event, and begins a run that has crashed again.

When a flow's process dies its worker says so. When the worker dies, too, heartbeats stay away, and the server says so.
Either way the run has crashed, and the server begins the same run again; but not for ever. What counts crashes is the
server, too: Prefect's own count of a run's tries has only those that came as far as the flow, and an image that cannot
be fetched, or a process that dies of its imports, does not.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.events import EventTrigger
from prefect.events.actions import ActionTypes, ChangeFlowRunState, RunDeployment
from prefect.events.schemas.automations import AutomationCore, Posture
from prefect.events.schemas.events import ResourceSpecification

from pipelines.flows import NOTHING_DUE, RETRAIN_DUE

__all__ = ["automations_of"]

_PAUSE = timedelta(seconds=15)
_START = timedelta(minutes=10)  # an image may have to be fetched; a busy machine takes its time, too
_CRASHES = 5  # what kills a run so often would kill it again
_COUNTED = timedelta(days=30)  # from the first crash on; longer than a run's tries take together
# Prefect names an event by the state's name, which need not be the name of its type.
_ALIVE = ("Running", "Rerunning", "Retrying")
_ENDED = ("Completed", NOTHING_DUE, "Failed", "Crashed", "Cancelled", "Cancelling", "TimedOut")
_GOES_ON = ("Scheduled", "AwaitingRetry", "Pending", "Failed", "Cancelled")  # or has been given up


def automations_of(
    pool: str, home: str, *, tag: str, retraining: UUID, silence: timedelta
) -> list[AutomationCore]:
    """What the server does of itself for a home's pool.

    Args:
        home: what events call it.
        tag: of the runs of its flows.
        retraining: the deployment that a due request starts.
        silence: for how long a running flow may send no heartbeat.
    """
    runs = {
        "match": ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
        "match_related": ResourceSpecification(
            {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{tag}"}
        ),
        "for_each": {"prefect.resource.id"},
    }
    crashed, ended = _events("Crashed"), _events(*_ENDED)
    alive = _events("heartbeat", *_ALIVE)
    return [
        _automation(
            f"{pool}: train again when monitoring asks for it",
            EventTrigger(
                expect={RETRAIN_DUE},
                match=ResourceSpecification({"prefect.resource.id": home}),
                posture=Posture.Reactive,
                threshold=1,
            ),
            RunDeployment(deployment_id=retraining),
        ),
        _automation(
            f"{pool}: a run that is silent has crashed",
            EventTrigger(
                after=alive,
                expect=alive | ended,
                posture=Posture.Proactive,
                threshold=1,
                within=silence,
                **runs,
            ),
            ChangeFlowRunState(state=StateType.CRASHED, message="no heartbeat: its worker is gone"),
        ),
        _automation(
            f"{pool}: a run that does not start has crashed",
            EventTrigger(
                after=_events("Pending"),
                expect=alive | ended,
                posture=Posture.Proactive,
                threshold=1,
                within=max(_START, silence),
                **runs,
            ),
            ChangeFlowRunState(state=StateType.CRASHED, message="did not start: its worker is gone"),
        ),
        _automation(
            f"{pool}: begin a crashed run again",
            EventTrigger(  # not at once: its process may not be gone yet, and would have it crash once more
                after=crashed,
                expect=_events(*_GOES_ON),
                posture=Posture.Proactive,
                threshold=1,
                within=_PAUSE,
                **runs,
            ),
            ChangeFlowRunState(state=StateType.SCHEDULED, name="AwaitingRetry", message="it had crashed"),
        ),
        _automation(
            f"{pool}: a run that crashed {_CRASHES} times has failed",
            EventTrigger(  # the first begins the count, which is gone when it is full: a person may try again
                after=crashed,
                expect=crashed,
                posture=Posture.Reactive,
                threshold=_CRASHES - 1,
                within=_COUNTED,
                **runs,
            ),
            ChangeFlowRunState(
                state=StateType.FAILED, message=f"was begun {_CRASHES} times, and crashed each time"
            ),
        ),
    ]


def _events(*states: str) -> set[str]:
    return {f"prefect.flow-run.{state}" for state in states}


def _automation(name: str, trigger: EventTrigger, action: ActionTypes) -> AutomationCore:
    return AutomationCore(name=name, trigger=trigger, actions=[action])
