"""Commands about the Kubeflow pipeline. Heavy imports wait until one is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mlops.errors import ConfigError
from mlops.settings import Settings
from pipelines.command_line import knob_values, show
from pipelines.options import PATH, as_json

__all__ = ["kubeflow"]

_PIPELINE = Path(__file__).with_name("kubeflow.yaml")
_OF_ACCELERATOR = {"--accelerator": "accelerator", "--accelerated-image": "accelerated_image"}
set_option = click.option(
    "--set",
    "pairs",
    metavar="NAME=VALUE",
    multiple=True,
    help="A parameter of the pipeline; may be repeated.",
)


@click.group()
def kubeflow() -> None:
    """The same steps as a pipeline of Kubeflow. See docs/kubeflow.md."""


@kubeflow.command("compile")
@click.option("--out", type=PATH, required=True, help="The file to write, such as runs/lifecycle.yaml.")
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
@click.pass_obj
def compile_(settings: Settings, /, out: Path, nodes: tuple[str, ...], **chosen: Any) -> None:
    """Write what a Kubeflow cluster runs."""
    from pipelines.kubeflow import compile_pipeline
    from pipelines.kubeflow_pods import Options
    from pipelines.training_plan import candidates

    if chosen["accelerated"]:
        candidates(settings, only=chosen["accelerated"])  # whether there are such, before what they want
    labels = dict(pair.partition("=")[::2] for pair in nodes)
    for pair in nodes:
        if not all(pair.partition("=")):
            raise ConfigError(f"{pair!r} is not LABEL=VALUE", where="--node")
    if not chosen["accelerated"]:
        _refuse_idle({"--node": nodes, **{option: chosen[name] for option, name in _OF_ACCELERATOR.items()}})
    given = {name: value for name, value in chosen.items() if value not in (None, ())}
    compile_pipeline(Options(node_selector=labels, **given), out)
    print(out)


def _refuse_idle(options: Mapping[str, Any]) -> None:
    for option, value in options.items():
        if value:
            raise ConfigError(
                "no candidate is for an accelerator", where=option, todo="name one with --accelerate"
            )


@kubeflow.command()
@set_option
@click.option(
    "--verbose", is_flag=True, help="Show all that Kubeflow's runner prints, with each task's inputs."
)
@as_json
@click.pass_obj
def run(settings: Settings, pairs: tuple[str, ...], verbose: bool, json_: bool) -> None:
    """Run the pipeline on this machine, by Kubeflow's local runner. Promotes what is admitted, as `mlops run`.

    It wants to be told where the events are: --set events=PATH|URI.
    """
    from pipelines.kubeflow_arguments import checked_here

    arguments = checked_here(settings, _PIPELINE, {"promote": True, **knob_values(pairs)})
    from pipelines.kubeflow_pods import Options
    from pipelines.kubeflow_runs import run_here

    show(run_here(settings, arguments, Options(retries=0), verbose=verbose), json_)


@kubeflow.command()
@click.option("--host", metavar="URL", required=True, help="Kubeflow's API.")
@click.option("--cron", required=True, help="Six fields, seconds first, in UTC: '0 10 1 * * *'.")
@click.option("--name", default="mlops-lifecycle", show_default=True, help="One of this name is replaced.")
@click.option(
    "--pipeline",
    type=PATH,
    required=True,
    help="What `mlops kubeflow compile` wrote for this cluster, with its image and its settings.",
)
@click.option("--namespace", default="", help="Of the profile, where Kubeflow has several users.")
@click.option("--service-account", default="", help="Of the runs' pods.")
@click.option("--token", default="", envvar="KUBEFLOW_TOKEN", help="Who asks (KUBEFLOW_TOKEN).")
@set_option
@as_json
@click.pass_obj
def schedule(
    settings: Settings,
    host: str,
    cron: str,
    name: str,
    pipeline: Path,
    namespace: str,
    service_account: str,
    token: str,
    pairs: tuple[str, ...],
    json_: bool,
) -> None:
    """Create or replace the pipeline's recurring run on a cluster.

    Deliveries have to be fresh as of the day on which a run ingests them, unless told: --set as_of= for an archive.
    """
    from pipelines.kubeflow_arguments import checked_there
    from pipelines.kubeflow_runs import schedule as act
    from pipelines.kubeflow_steps import TODAY

    if len(cron.split()) != 6:
        raise ConfigError(f"{cron!r} has not six fields", where="--cron", todo="the first are the seconds")
    arguments = checked_there(settings, pipeline, {"as_of": TODAY, **knob_values(pairs)})
    show(
        act(
            pipeline,
            arguments,
            host=host,
            cron=cron,
            name=name,
            namespace=namespace,
            service_account=service_account,
            token=token,
        ),
        json_,
    )
