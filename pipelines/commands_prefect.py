"""Commands about Prefect. Heavy imports wait until one is chosen."""

from __future__ import annotations

import sys
from typing import Any

import click

from mlops.settings import Settings
from pipelines.command_line import show
from pipelines.options import DATE, as_json, events_option, run_options

__all__ = ["prefect"]

pool_option = click.option("--pool", default="mlops", show_default=True, help="The home's work pool.")


@click.group()
def prefect() -> None:
    """The same steps as flows of Prefect. They run by the clock and on request: docs/prefect.md."""


@prefect.command()
@events_option
@pool_option
@click.option("--against", type=DATE, help="First day of monitoring's normal period.")
@click.option(
    "--archive",
    is_flag=True,
    help="Take what is new in by the clock also where it is not fresh as of that day.",
)
@click.option("--features", metavar="CRON", help="When features are computed; '10 1 * * *' by default, UTC.")
@click.option("--monitor", metavar="CRON", help="When monitoring looks; '10 3 * * *' by default, UTC.")
@click.option("--retrain", metavar="CRON", help="When training is due without request; '10 4 * * 0', UTC.")
@click.option(
    "--silence", "silence_s", type=int, help="Seconds without heartbeat until a run counts as dead; 150."
)
@as_json
@click.pass_obj
def deploy(settings: Settings, /, json_: bool, **chosen: Any) -> None:
    """Tell the server at PREFECT_API_URL when this home's flows run. It is told what follows from events, too.

    Where a time is `never`, the flow runs on request only.
    """
    from pipelines.event_places import is_missing
    from pipelines.prefect_deployments import Plan
    from pipelines.prefect_deployments import deploy as act

    given = {name: value for name, value in chosen.items() if value is not None}
    show(act(settings, Plan(**given)), json_)
    if is_missing(chosen["events"]):  # it may come later, or be on the worker's machine alone
        print(
            f"mlops: {chosen['events']}: no such file or folder here; the flows will look for it where the worker runs",
            file=sys.stderr,
        )


@prefect.command()
@pool_option
@click.option(
    "--wait", is_flag=True, help="Where there is no such pool yet, wait until `deploy` has made it."
)
@click.pass_obj
def worker(settings: Settings, pool: str, wait: bool) -> None:
    """Run this home's flows as the server says, until Ctrl-C. It is that of PREFECT_API_URL."""
    from pipelines.prefect_deployments import work

    work(settings, pool, wait=wait)


@prefect.command()
@run_options
@as_json
@click.pass_obj
def run(settings: Settings, /, json_: bool, **asked: Any) -> None:
    """Run the lifecycle's flow here and now. The server is Prefect's embedded one, or that of PREFECT_API_URL."""
    from mlops.storage import read_json
    from pipelines.conclusion import CONCLUSION, Conclusion
    from pipelines.environment import in_environment
    from pipelines.event_places import must_be_there
    from pipelines.parameters import no_password
    from pipelines.prefect_server import embedded

    no_password(asked["events"], "--events", engine="Prefect")
    must_be_there(asked["events"])  # before a server is started
    with embedded(settings.home / "prefect"), in_environment(settings):
        from pipelines.flows import lifecycle

        lifecycle(**asked)
    show(read_json(settings.home / CONCLUSION, Conclusion), json_)
