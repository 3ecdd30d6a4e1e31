"""Commands from features to a champion. Heavy imports wait until one is chosen."""

from __future__ import annotations

from datetime import date

import click

from mlops.contract import Effort
from mlops.settings import Settings
from pipelines.command_line import show, watched
from pipelines.options import (
    as_json,
    effort_option,
    seed_option,
    train_from_option,
)

__all__ = ["train"]


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
    """Train the candidates, and send them through the gate into the registry."""
    from pipelines import lifecycle
    from pipelines.tables import release_table
    from pipelines.workers import workers

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
