"""A home that has served a day, and whose monitoring asks for a training."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from mlops.settings import Settings
from mlops.storage import write_json
from monitoring.results import RetrainRequest
from monitoring.rules import REQUEST
from pipelines.ports import free_port
from pipelines.replay import Recording, replay
from pipelines.server import running_server
from tests.e2e.two_candidates import USE_CASE

__all__ = ["serve_and_ask"]


def serve_and_ask(settings: Settings, day: Path) -> None:
    """Serve the events of 1 May, which are in `day`, and leave a request that is due on the next one."""
    with running_server(settings, port=free_port()) as url:
        recording, served = Recording([day], USE_CASE.events, USE_CASE.label), date(2018, 5, 1)
        assert replay(recording, url, first_day=served, last_day=served).failed == 0
    request = RetrainRequest(
        reason="it is worse",
        evidence={"figure": 0.1},
        requested_on="2018-05-02",
        train_from="2018-04-10",
        not_before="2018-05-02",
    )
    write_json(settings.monitoring / REQUEST, request)
