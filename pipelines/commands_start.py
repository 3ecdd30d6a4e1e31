"""Commands that do everything at once. Heavy imports wait until one is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from mlops.errors import MlopsError
from mlops.layout import Layout
from mlops.settings import Settings
from pipelines.command_line import knob_values, show
from pipelines.event_places import must_be_there
from pipelines.options import PATH, as_json, layout_options, run_options, seed_option

__all__ = ["demo", "run"]


@click.command()
@click.option(
    "--out", type=PATH, help="The folder to write, emptied first; --home if that is given, else runs/demo."
)
@seed_option
@click.option("--set", "knobs", metavar="KEY=VALUE", multiple=True, help="A knob of the simulated world.")
@as_json
@click.pass_obj
def demo(settings: Settings, out: Path | None, seed: int, knobs: tuple[str, ...], json_: bool) -> None:
    """The whole loop, from raw events to a retrained model. Its payments are simulated."""
    from pipelines.demo import run_demo
    from pipelines.demo_results import PAGE
    from pipelines.server import serving_command
    from pipelines.tables import demo_table
    from pipelines.view import View

    chosen = settings.home != Settings.from_env({}).home
    home = out or (settings.home if chosen else Path("runs/demo"))
    settings = msgspec.structs.replace(settings, home=home.absolute())
    summary = run_demo(settings, View("The loop"), seed=seed, world=knob_values(knobs))
    if json_:
        show(summary, json_=True)
        return
    print(demo_table(summary))
    print(f"The story in pictures: {settings.home / PAGE}")
    print(f"Its champion, served:  {serving_command(settings)}")


@click.command()
@run_options
@layout_options
@click.option("--out", type=PATH, help="The home to write, instead of --home.")
@as_json
@click.pass_obj
def run(
    settings: Settings, /, events: str, layout: Layout | None, out: Path | None, json_: bool, **asked: Any
) -> None:
    """From a file of events to a champion. Validates, computes features, trains, gates and promotes."""
    must_be_there(events)  # before a home is made
    from pipelines import lifecycle
    from pipelines.engine import LocalEngine
    from pipelines.report import shown_if_refused
    from pipelines.tables import run_table
    from pipelines.view import View

    if out is not None:
        settings = msgspec.structs.replace(settings, home=out.absolute())
    with shown_if_refused(), View("From events to a champion") as view:
        result = lifecycle.run(LocalEngine(view), settings, events, layout=layout, **asked)
    if json_:
        show(result, json_=True)
    else:
        print(run_table(result))
    if result.release.version is None:
        raise MlopsError("the gate admitted no candidate", where=settings.home / lifecycle.RELEASE)
