"""Commands from raw events to features. Heavy imports wait until one is chosen."""

from __future__ import annotations

import sys
from datetime import date

import click

from mlops.layout import Layout
from mlops.settings import Settings
from pipelines.command_line import knob_values, show, watched
from pipelines.options import (
    PLACE,
    as_json,
    delivery_options,
    events_option,
    layout_options,
    seed_option,
)

__all__ = ["export_source", "features", "simulate", "validate"]


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
    """Write simulated events, one file a day, into OUT."""
    from pipelines import simulate as step

    world = {**knob_values(knobs), "seed": seed}
    show(watched("simulate", step.simulate, settings, world, out, on_spark=spark), json_)


@click.command()
@click.argument("out", metavar=PLACE)
@as_json
@click.pass_obj
def export_source(settings: Settings, out: str, json_: bool) -> None:
    """Write the public table that the use case ships into OUT."""
    from pipelines import export

    show(watched("export-source", export.export_source, settings, out), json_)


@click.command()
@events_option
@layout_options
@delivery_options
@as_json
@click.pass_obj
def validate(
    settings: Settings, events: str, layout: Layout | None, as_of: date | None, force: bool, json_: bool
) -> None:
    """Check events against the schema. Bad rows go to the quarantine with the reason.

    The good rows replace what the event table held; `mlops ingest` adds to it.
    """
    from pipelines import lifecycle
    from pipelines.report import shown_if_refused, validation_table

    with shown_if_refused():
        result = watched(
            "validate", lifecycle.validate_events, settings, events, as_of=as_of, force=force, layout=layout
        )
    if json_:
        show(result, json_=True)
    else:
        print(validation_table(result))


@click.command()
@click.option("--full", is_flag=True, help="Compute everything again, not only what something new touches.")
@click.option("--check", is_flag=True, help="Look for values that know the future, in a sample of the table.")
@click.option("--explain", "event_id", metavar="EVENT_ID", help="Show where an event's features come from.")
@as_json
@click.pass_obj
def features(settings: Settings, full: bool, check: bool, event_id: str | None, json_: bool) -> None:
    """Bring the feature table up to date, or look into it."""
    if full + check + (event_id is not None) > 1:
        raise click.UsageError("--full, --check and --explain are three things to do: name one")
    from mlops.contract import load_use_case
    from pipelines import explain_view, feature_steps, lifecycle

    if check:
        result = watched("check", feature_steps.check_point_in_time, settings)
        show(result, json_)
        sys.exit(1 if result.leaking else 0)
    if event_id is None:
        step = lifecycle.compute_features if full else lifecycle.update_features
        show(watched("features", step, settings), json_)
        return
    explanation = feature_steps.explain(settings, event_id)
    if json_:
        show(explanation, json_=True)
    else:
        use_case = load_use_case(settings.usecase)
        print(explain_view.explanation_text(explanation, use_case.features, use_case.events), end="")
