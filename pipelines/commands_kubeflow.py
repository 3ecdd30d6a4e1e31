"""Commands about the Kubeflow pipeline. Heavy imports wait until one is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mlops.errors import ConfigError
from mlops.settings import Settings
from pipelines.command_line import knob_values, show
from pipelines.options import PATH, as_json

__all__ = ["kubeflow"]

_PIPELINE = Path(__file__).with_name("kubeflow.yaml")
set_option = click.option(
    "--set",
    "pairs",
    metavar="NAME=VALUE",
    multiple=True,
    help="A parameter of the pipeline; may be repeated.",
)


@click.group()
def kubeflow() -> None:
    """The same steps as a pipeline of Kubeflow (docs/kubeflow.md)."""


@kubeflow.command("compile")
@click.option(
    "--out", type=PATH, default=_PIPELINE, help="The file to write; pipelines/kubeflow.yaml by default."
)
@click.option("--image", help="Of all tasks, best by digest; mlops-pipeline:local by default.")
@click.option("--config-map", help="The settings, as Kustomize named it; pipelines by default.")
@click.option("--retries", type=click.IntRange(0, 10), help="How often a failed task is tried again; 2.")
@click.option("--parallel", type=click.IntRange(1, 100), help="How many candidates train at once; 2.")
@click.option(
    "--accelerate", "accelerated", multiple=True, help="A candidate for an accelerator; may be repeated."
)
@click.option("--accelerator", help="The accelerator's resource; nvidia.com/gpu by default.")
@click.option("--accelerated-image", help="The image that trains on it.")
@click.option(
    "--node", "nodes", metavar="LABEL=VALUE", multiple=True, help="A label of the nodes that have it."
)
def compile_(out: Path, nodes: tuple[str, ...], **chosen: Any) -> None:
    """Write what a Kubeflow cluster runs."""
    from pipelines.kubeflow import compile_pipeline
    from pipelines.kubeflow_pods import Options

    labels = dict(pair.partition("=")[::2] for pair in nodes)
    if not all(labels.values()):
        raise ConfigError(f"{nodes[0]!r} is not LABEL=VALUE", where="--node")
    given = {name: value for name, value in chosen.items() if value not in (None, ())}
    compile_pipeline(Options(node_selector=labels, **given), out)
    print(out)


@kubeflow.command()
@set_option
@as_json
@click.pass_obj
def run(settings: Settings, pairs: tuple[str, ...], json_: bool) -> None:
    """Run the pipeline on this machine, with Kubeflow's local runner."""
    from pipelines.kubeflow_pods import Options
    from pipelines.kubeflow_runs import checked, run_here

    show(run_here(settings, checked(_PIPELINE, knob_values(pairs)), Options(retries=0)), json_)


@kubeflow.command()
@click.option("--host", metavar="URL", required=True, help="Kubeflow's API.")
@click.option("--cron", required=True, help="Six fields, seconds first, in UTC: '0 10 1 * * *'.")
@click.option("--name", default="mlops-lifecycle", show_default=True, help="One of this name is replaced.")
@click.option(
    "--pipeline", type=PATH, default=_PIPELINE, help="What was compiled; pipelines/kubeflow.yaml by default."
)
@click.option("--namespace", default="", help="Of the profile, where Kubeflow has several users.")
@click.option("--service-account", default="", help="Of the runs' pods.")
@set_option
@as_json
def schedule(
    host: str,
    cron: str,
    name: str,
    pipeline: Path,
    namespace: str,
    service_account: str,
    pairs: tuple[str, ...],
    json_: bool,
) -> None:
    """Create or replace the pipeline's recurring run on a Kubeflow cluster."""
    from pipelines.kubeflow_runs import checked
    from pipelines.kubeflow_runs import schedule as act

    if len(cron.split()) != 6:
        raise ConfigError(f"{cron!r} has not six fields", where="--cron", todo="the first are the seconds")
    arguments = checked(pipeline, knob_values(pairs))
    show(
        act(
            pipeline,
            arguments,
            host=host,
            cron=cron,
            name=name,
            namespace=namespace,
            service_account=service_account,
        ),
        json_,
    )
