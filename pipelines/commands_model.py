"""Commands that make models and let them score. Heavy imports wait until one is chosen."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import click

from mlops.contract import Effort
from mlops.layout import Layout
from mlops.settings import Settings
from pipelines.command_line import show, watched
from pipelines.options import (
    PATH,
    PLACE,
    as_json,
    effort_option,
    events_option,
    layout_options,
    seed_option,
    train_from_option,
)

__all__ = ["score", "train"]


@click.command()
@train_from_option
@click.option(
    "--candidate", "only", multiple=True, help="Only this one, whatever effort it is for; may be repeated."
)
@effort_option
@seed_option
@as_json
@click.pass_obj
def train(
    settings: Settings,
    train_from: date | None,
    only: tuple[str, ...],
    effort: Effort,
    seed: int,
    json_: bool,
) -> None:
    """Train the candidates, and send them through the gate."""
    from pipelines import lifecycle
    from pipelines.tables import release_table
    from pipelines.torchrun import several, train_together
    from pipelines.workers import workers

    if several():
        led = watched("train", train_together, settings, train_from, seed=seed, effort=effort, only=only)
        if led is None:
            return
        results, outcome = led
    else:
        with workers() as pool:
            first_day = train_from or lifecycle.default_training_day(settings)
            results = watched(
                "train", lifecycle.train, settings, first_day, pool=pool, seed=seed, effort=effort, only=only
            )
            outcome = watched("gate", lifecycle.release, settings, results, pool=pool)
    if json_:
        show({"candidates": results, "release": outcome}, json_=True)
    else:
        print(release_table(results, outcome))


@click.command()
@events_option
@layout_options
@click.option(
    "--out",
    metavar=PLACE,
    required=True,
    help="Folder for the scores, as Parquet; scores in it are replaced.",
)
@click.option(
    "--bundle", type=PATH, help="Folder of another bundle than the champion's, signed for the same key."
)
@click.option("--features", "with_features", is_flag=True, help="Write each event's features, too.")
@as_json
@click.pass_obj
def score(
    settings: Settings,
    events: str,
    layout: Layout | None,
    out: str,
    bundle: Path | None,
    with_features: bool,
    json_: bool,
) -> None:
    """Score many events at once, as a server would one by one. Their history is the home's events."""
    from pipelines import score as step

    result = watched(
        "score", step.score, settings, events, out, bundle=bundle, with_features=with_features, layout=layout
    )
    show(result, json_)
