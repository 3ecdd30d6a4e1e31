"""Commands from raw events to features. Heavy imports wait until one is chosen."""

from __future__ import annotations

from datetime import date

import click

from mlops.settings import Settings
from pipelines.command_line import knob_values, show, watched
from pipelines.options import (
    PLACE,
    as_json,
    delivery_options,
    events_option,
    seed_option,
)

__all__ = ["features", "simulate", "validate"]


@click.command()
@click.argument("out", metavar=PLACE)
@seed_option
@click.option(
    "--set", "knobs", metavar="KEY=VALUE", multiple=True, help="A knob of the world, such as customers=500."
)
@click.option("--spark", is_flag=True, help="Let Spark's workers write the files, for worlds of many events.")
@as_json
@click.pass_obj
def simulate(
    settings: Settings, out: str, seed: int, knobs: tuple[str, ...], spark: bool, json_: bool
) -> None:
    """Write simulated events, one file a day, into the folder OUT."""
    from pipelines import simulate as step

    world = {**knob_values(knobs), "seed": seed}
    show(watched("simulate", step.simulate, settings, world, out, on_spark=spark), json_)


@click.command()
@events_option
@delivery_options
@as_json
@click.pass_obj
def validate(settings: Settings, events: str, as_of: date | None, force: bool, json_: bool) -> None:
    """Check events against the schema; bad rows go to the quarantine with the reason."""
    from pipelines import lifecycle
    from pipelines.report import shown_if_refused, validation_table

    with shown_if_refused():
        result = watched("validate", lifecycle.validate_events, settings, events, as_of=as_of, force=force)
    if json_:
        show(result, json_=True)
    else:
        print(validation_table(result))


@click.command()
@as_json
@click.pass_obj
def features(settings: Settings, json_: bool) -> None:
    """Compute the feature table of the validated events."""
    from pipelines import lifecycle

    show(watched("features", lifecycle.compute_features, settings), json_)
