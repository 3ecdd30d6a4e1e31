"""The command that tells what a change is worth. Heavy imports wait until it is chosen."""

from __future__ import annotations

from pathlib import Path

import click

from mlops.contract import load_use_case
from mlops.settings import Settings
from mlops.storage import check_replaceable
from pipelines.command_line import show
from pipelines.options import PATH, as_json

__all__ = ["compare"]


@click.command()
@click.argument("base", type=PATH)
@click.option("--out", type=PATH, help="A folder for the report and its pictures, new or an earlier one's.")
@as_json
@click.pass_obj
def compare(settings: Settings, base: Path, out: Path | None, json_: bool) -> None:
    """Hold this home's candidates against BASE's champion. BASE is a home that was trained on the same events."""
    from pipelines.compare import compare as step
    from pipelines.compare_page import earlier, markdown, write_comparison

    if out is not None:  # before anything is computed
        check_replaceable(out, earlier)
    found, use_case = step(settings, base), load_use_case(settings.usecase)
    if out is not None:
        write_comparison(found, use_case, out)
    if json_:
        show(found, json_=True)
    else:
        print(markdown(found, use_case), end="")
