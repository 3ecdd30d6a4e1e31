"""Commands about Prefect. Heavy imports wait until one is chosen."""

from __future__ import annotations

from datetime import date
from typing import Any

import click

from mlops.contract import Effort
from mlops.settings import Settings
from pipelines.command_line import show
from pipelines.options import (
    DATE,
    as_json,
    delivery_options,
    effort_option,
    events_option,
    seed_option,
    train_from_option,
)

__all__ = ["prefect"]

pool_option = click.option("--pool", default="mlops", show_default=True, help="The home's work pool.")


@click.group()
def prefect() -> None:
    """The same steps as flows of Prefect, by the clock and on request (docs/prefect.md)."""


@prefect.command()
@events_option
@pool_option
@click.option("--against", type=DATE, help="First day of monitoring's normal period.")
@click.option("--features", metavar="CRON", help="When features are computed; '10 1 * * *' by default, UTC.")
@click.option("--monitor", metavar="CRON", help="When monitoring looks; '10 3 * * *' by default, UTC.")
@click.option("--retrain", metavar="CRON", help="When training is due without request; '10 4 * * 0', UTC.")
@click.option(
    "--silence", "silence_s", type=int, help="Seconds without heartbeat until a run counts as dead; 150."
)
@as_json
@click.pass_obj
def deploy(settings: Settings, /, json_: bool, **chosen: Any) -> None:
    """Tell the server at PREFECT_API_URL when this home's flows run, and what follows from events."""
    from pipelines.prefect_deployments import Plan
    from pipelines.prefect_deployments import deploy as act

    given = {name: value for name, value in chosen.items() if value is not None}
    show(act(settings, Plan(**given)), json_)


@prefect.command()
@pool_option
@click.pass_obj
def worker(settings: Settings, pool: str) -> None:
    """Run this home's flows as the server at PREFECT_API_URL says, until interrupted."""
    from pipelines.prefect_deployments import work

    work(settings, pool)


@prefect.command()
@events_option
@train_from_option
@delivery_options
@effort_option
@seed_option
@as_json
@click.pass_obj
def run(
    settings: Settings,
    events: str,
    train_from: date | None,
    as_of: date | None,
    force: bool,
    effort: Effort,
    seed: int,
    json_: bool,
) -> None:
    """Run the lifecycle's flow here and now, on Prefect's embedded server or that of PREFECT_API_URL."""
    from mlops.storage import read_json
    from pipelines.conclusion import CONCLUSION, Conclusion
    from pipelines.environment import in_environment
    from pipelines.prefect_server import embedded

    with embedded(settings.home / "prefect"), in_environment(settings):
        from pipelines.flows import lifecycle

        lifecycle(events, as_of=as_of, force=force, train_from=train_from, effort=effort, seed=seed)
    show(read_json(settings.home / CONCLUSION, Conclusion), json_)
