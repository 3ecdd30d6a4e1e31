"""Commands from features to a champion. Heavy imports wait until one is chosen."""

from __future__ import annotations

from datetime import date

import click

from mlops.contract import Effort
from mlops.errors import ConfigError
from mlops.settings import Settings
from pipelines.command_line import show, watched
from pipelines.options import (
    as_json,
    effort_option,
    seed_option,
    train_from_option,
)

__all__ = ["promote", "train"]


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


@click.command()
@click.argument("version", required=False)
@click.option("--rollback", is_flag=True, help="Go back to the champion before this one.")
@as_json
@click.pass_obj
def promote(settings: Settings, version: str | None, rollback: bool, json_: bool) -> None:
    """Make VERSION (by default the challenger) the champion that serving follows."""
    from pipelines import lifecycle
    from training import registry

    if rollback:
        show(registry.rollback(settings), json_)
        return
    version = version or registry.status(settings).challenger or registry.status(settings).champion
    if version is None:
        raise ConfigError(
            "there is no version to promote", where=settings.mlflow_uri, todo="train one: mlops train"
        )
    watched("backfill", lifecycle.fill_store, settings, version)
    show(watched("promote", lifecycle.promote, settings, version), json_)
