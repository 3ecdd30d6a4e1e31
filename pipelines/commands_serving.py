"""Commands that serve the champion, or ask the server. Heavy imports wait until one is chosen."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import click

from mlops.errors import ConfigError, MlopsError
from mlops.layout import Layout
from mlops.settings import Settings
from pipelines.command_line import show, watched
from pipelines.options import (
    DATE,
    PATH,
    as_json,
    events_option,
    layout_options,
    url_option,
)

__all__ = ["replay", "serve"]


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one."
)
@click.option(
    "--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes that answer."
)
@click.option(
    "--keys",
    type=PATH,
    metavar="FILE",
    envvar="MLOPS_SERVING_KEYS",
    help="API keys, as `mlops keys create` makes them.",
)
@click.option("--no-keys", is_flag=True, help="Ask for no keys: whoever reaches it may do everything.")
@click.pass_obj
def serve(settings: Settings, host: str, port: int, workers: int, keys: Path | None, no_keys: bool) -> None:
    """Serve the champion over HTTP until Ctrl-C.

    Other options of the server are variables, such as MLOPS_SERVING_QUEUE; see `python -m serving --help`.
    """
    from pipelines.server import command, environment

    if not settings.pointer.exists():
        raise ConfigError(
            "no champion to serve", where=settings.pointer, todo="promote one: mlops run, mlops promote"
        )
    if keys is not None and no_keys:
        raise ConfigError("both --keys and --no-keys", where="mlops serve", todo="name one of the two")
    if keys is None and not no_keys:
        raise ConfigError(
            "nothing says who may ask",
            where="mlops serve",
            todo="on this machine alone, say --no-keys; else make a key with `mlops keys create` and say --keys FILE",
        )
    line = command(settings, host=host, port=port, workers=workers, keys=None if no_keys else keys)
    os.execve(line[0], line, environment(settings))


@click.command()
@events_option
@layout_options
@url_option
@click.option("--from", "first_day", type=DATE, help="First day to replay; none where events have no time.")
@click.option("--to", "last_day", type=DATE, help="Last day to replay.")
@click.option(
    "--singles", default=0, show_default=True, help="Send so many events one by one, the others in lists."
)
@as_json
@click.pass_obj
def replay(
    settings: Settings,
    events: str,
    layout: Layout | None,
    url: str,
    first_day: date | None,
    last_day: date | None,
    singles: int,
    json_: bool,
) -> None:
    """Send past events to a running server as if they happened now, and labels when they are due."""
    from mlops.contract import load_use_case
    from pipelines.replay import Recording
    from pipelines.replay import replay as send
    from pipelines.staged import fetched

    use_case = load_use_case(settings.usecase)
    with fetched(events, layout.encoding if layout else "") as source:
        recording = Recording([source], use_case.events, use_case.label, layout)
    result = watched("replay", send, recording, url, first_day=first_day, last_day=last_day, singles=singles)
    show(result, json_)
    if result.failed:
        raise MlopsError(
            f"{result.failed} of {result.requests} requests failed", where=url, todo=result.errors[0]
        )
