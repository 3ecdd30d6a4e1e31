"""Commands that look at what was served, and act on it. Heavy imports wait until one is chosen."""

from __future__ import annotations

from datetime import date

import click

from mlops.errors import InputError
from mlops.settings import Settings
from pipelines.command_line import show, watched
from pipelines.options import (
    DATE,
    as_json,
    seed_option,
)

__all__ = ["monitor", "report", "retrain", "status"]


@click.command()
@click.option("--as-of", type=DATE, required=True, help="Look as things are known at the start of this day.")
@click.option("--from", "first_day", type=DATE, help="First day looked at; by default a week before --as-of.")
@click.option("--to", "last_day", type=DATE, help="Last day looked at; by default the day before --as-of.")
@click.option("--against", type=DATE, help="First day of the normal period, as long as the one looked at.")
@as_json
@click.pass_obj
def monitor(
    settings: Settings,
    as_of: date,
    first_day: date | None,
    last_day: date | None,
    against: date | None,
    json_: bool,
) -> None:
    """Drift and performance of what was served. Writes reports, alerts and retrain requests."""
    from pipelines import watching
    from pipelines.tables import monitor_table

    result = watched(
        "monitor",
        watching.monitor_served,
        settings,
        as_of=as_of,
        first_day=first_day,
        last_day=last_day,
        against=against,
    )
    if json_:
        show(result, json_=True)
    else:
        print(monitor_table(result))


@click.command()
@click.option("--as-of", type=DATE, help="Act as on this day; today by default.")
@click.option(
    "--if-due", is_flag=True, help="Where no request is due, say so and end well, as a schedule wants it."
)
@seed_option
@as_json
@click.pass_obj
def retrain(settings: Settings, as_of: date | None, if_due: bool, seed: int, json_: bool) -> None:
    """Act on monitoring's request to retrain. Trains on what was served, gates, registers; promotion stays yours."""
    from mlops.home import must_be_home
    from pipelines.engine import LocalEngine
    from pipelines.retrain import compute_live_features, due_request
    from pipelines.retrain import retrain as act
    from pipelines.tables import release_table
    from pipelines.view import View
    from pipelines.watching import collect_logs
    from pipelines.workers import workers

    must_be_home(settings)
    request = due_request(settings, as_of or date.today())
    if request is None:
        if if_due:
            print("null" if json_ else "no request is due: nothing to do")
            return
        raise InputError(
            "no request is due", where=settings.monitoring, todo="`mlops monitor` makes one if needed"
        )
    with View("mlops retrain") as view, workers() as pool:
        engine = LocalEngine(view)
        engine.run("collect", collect_logs, settings)
        engine.run("features", compute_live_features, settings, date.fromisoformat(request.train_from))
        outcome = act(engine, settings, request, pool=pool, seed=seed)
    if json_:
        show(outcome, json_=True)
    else:
        print(release_table(outcome.candidates, outcome.release))


@click.command()
@as_json
@click.pass_obj
def report(settings: Settings, json_: bool) -> None:
    """Write an HTML page of each look that monitoring took."""
    from pipelines.watching import write_reports

    pages = write_reports(settings)
    if json_:
        show(pages, json_=True)
    else:
        print("\n".join(str(page) for page in pages))


@click.command()
@as_json
@click.pass_obj
def status(settings: Settings, json_: bool) -> None:
    """Which model should answer, and which one does. Says where the two differ."""
    from pipelines.tables import status_table
    from training import registry

    found = registry.status(settings)
    if json_:
        show(found, json_=True)
    else:
        print(status_table(found), end="")
