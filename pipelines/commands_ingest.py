"""Commands that add events to those that are there. Heavy imports wait until one is chosen."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

import click

from mlops.layout import Layout
from mlops.settings import Settings
from pipelines.command_line import show, watched
from pipelines.options import PATH, as_json, delivery_options, events_option, layout_options

__all__ = ["ingest", "stream"]


@click.command()
@events_option
@layout_options
@delivery_options
@as_json
@click.pass_obj
def ingest(
    settings: Settings, events: str, layout: Layout | None, as_of: date | None, force: bool, json_: bool
) -> None:
    """Add events to those that are there. Late ones, and labels that are known now, are merged; none is there twice."""
    from pipelines import lifecycle
    from pipelines.report import shown_if_refused, validation_table

    with shown_if_refused():
        result = watched(
            "ingest", lifecycle.ingest, settings, events, as_of=as_of, force=force, layout=layout
        )
    if json_:
        show(result, json_=True)
    else:
        print(validation_table(result))


@click.command()
@click.argument("folder", type=PATH)
@click.option("--once", is_flag=True, help="Take the files that are there, and end.")
@click.option("--every", default="10s", show_default=True, help="How often to look for new files.")
@click.option("--json", "json_", is_flag=True, help="Print a line of JSON for each batch of files.")
@click.pass_obj
def stream(settings: Settings, folder: Path, once: bool, every: str, json_: bool) -> None:
    """Add the events of a FOLDER that fills, until Ctrl-C. Killed and started again, it goes on where it was.

    A file is read once: write it under a name that starts with a dot, and rename it when it is whole.
    """
    from mlops.aggregates import duration_us
    from pipelines.stream import Streamed, stream_events

    def say(batch: Streamed) -> None:
        if json_:
            show(batch, json_=True)
        else:
            print(
                f"{batch.files:,} files: {batch.rows_in:,} rows in = {batch.good:,} good + "
                f"{batch.quarantined:,} quarantined + {batch.duplicates:,} duplicates"
            )
            for refusal in batch.refused:
                print(f"  refused: {refusal.reason}")
        sys.stdout.flush()

    stream_events(settings, folder, say, every_s=None if once else duration_us(every) / 1e6)
