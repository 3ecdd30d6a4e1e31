"""Commands that change who answers, and that tell how it came to it. Heavy imports wait until one is chosen."""

from __future__ import annotations

import click

from mlops.deployment import Deployment
from mlops.errors import ConfigError
from mlops.settings import Settings, without_password
from pipelines.command_line import show, watched
from pipelines.options import as_json

__all__ = ["copy_record", "history", "promote", "reject", "rollback"]

by_option = click.option("--by", default="", help="Who the record names (MLOPS_USER, else the user).")
why_option = click.option("--why", default="", help="Why, for the record.")


@click.command()
@click.argument("version", required=False)
@by_option
@why_option
@as_json
@click.pass_obj
def promote(settings: Settings, version: str | None, by: str, why: str, json_: bool) -> None:
    """Make VERSION the champion that serving follows. By default it is the challenger."""
    from pipelines import lifecycle
    from training import registry

    if version is None:
        standing = registry.status(settings)
        version = standing.challenger or standing.champion
    if version is None:
        raise ConfigError(
            "there is no version to promote",
            where=without_password(settings.mlflow_uri),
            todo="train one: mlops train",
        )
    registry.must_be_promotable(settings, version)
    watched("backfill", lifecycle.fill_store, settings, version)
    _show(watched("promote", registry.promote, settings, version, by=by, why=why), json_)


@click.command()
@click.argument("version")
@by_option
@why_option
@as_json
@click.pass_obj
def reject(settings: Settings, version: str, by: str, why: str, json_: bool) -> None:
    """Archive VERSION for ever. It is not promoted, and nobody rolls back to it."""
    from training import registry

    step = registry.reject(settings, version, by=by, why=why)
    if json_:
        show(step, json_)
    else:
        print(f"version {step.version} is rejected, by {step.by}: {step.why}".removesuffix(": "))


@click.command()
@by_option
@why_option
@as_json
@click.pass_obj
def rollback(settings: Settings, by: str, why: str, json_: bool) -> None:
    """Make the previous champion the champion again."""
    from training import registry

    _show(watched("roll back", registry.rollback, settings, by=by, why=why), json_)


def _show(deployment: Deployment, json_: bool) -> None:
    if json_:
        show(deployment, json_)
        return
    before = f", {deployment.previous.version} before" if deployment.previous else ""
    print(f"version {deployment.champion.version} answers now{before}")


@click.command()
@click.argument("version", required=False)
@as_json
@click.pass_obj
def history(settings: Settings, version: str | None, json_: bool) -> None:
    """Who moved which version to which stage, when and why. Of all versions, or of VERSION."""
    from training import registry

    steps = registry.history(settings, version)
    if json_:
        show(steps, json_=True)
        return
    for step in steps:
        print(
            f"{step.at}  version {step.version} → {step.stage} ({step.action}) by {step.by}  {step.why}".rstrip()
        )


@click.command(name="copy-record")
@click.argument("target")
@as_json
@click.pass_obj
def copy_record(settings: Settings, target: str, json_: bool) -> None:
    """Copy MLflow's runs and registry to PostgreSQL. TARGET is the URI of an empty database."""
    from training.copy_record import copy_record as copy

    show(watched("copy the record", copy, settings, target), json_)
