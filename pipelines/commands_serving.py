"""Commands that serve the champion, or ask the server. Heavy imports wait until one is chosen."""

from __future__ import annotations

import os
import sys
from datetime import date
from pathlib import Path

import click

from mlops.errors import ConfigError, MlopsError
from mlops.layout import Layout
from mlops.settings import Settings
from pipelines.command_line import show, watched
from pipelines.options import DATE, PATH, as_json, events_option, layout_options, url_option

__all__ = ["replay", "serve"]

_AT_HOME = """
Pointer, store, decisions and public key are those of the home, {home},
unless an option or a variable names others. With API keys, and without them for this machine alone:

    mlops keys create till --scope score --scope labels
    mlops serve --keys {keys}

    mlops serve --no-keys"""


@click.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS]")
@click.pass_obj
def serve(settings: Settings, arguments: tuple[str, ...]) -> None:
    """Serve the champion over HTTP until Ctrl-C. `mlops serve --help` lists the options."""
    from pipelines.server import variables
    from serving.options import check_keys, read_options

    environment = variables(settings, os.environ)
    try:
        options = read_options(arguments, environment, prog="mlops serve")
    except SystemExit:  # it was asked for its help, which is that of `python -m serving`
        click.echo(_AT_HOME.format(home=settings.home, keys=settings.keys / "api-keys.json"))
        raise
    if not options.pointer.exists():
        raise ConfigError(
            "no champion to serve", where=options.pointer, todo="promote one: mlops run, mlops promote"
        )
    check_keys(options)
    os.execve(sys.executable, [sys.executable, "-m", "serving", *arguments], environment)


@click.command()
@events_option
@layout_options
@url_option
@click.option(
    "--key-file",
    type=PATH,
    metavar="FILE",
    envvar="MLOPS_API_KEY_FILE",
    help="Holds the API key to send, where the server asks for one; else MLOPS_API_KEY is the key.",
)
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
    key_file: Path | None,
    first_day: date | None,
    last_day: date | None,
    singles: int,
    json_: bool,
) -> None:
    """Send past events, and their labels, to a running server. They go in their order, labels when they are due by
    the events' time."""
    from mlops.contract import load_use_case
    from pipelines.replay import Recording
    from pipelines.replay import replay as send
    from pipelines.staged import fetched

    use_case, key = load_use_case(settings.usecase), _api_key(key_file)
    with fetched(events, layout.encoding if layout else "") as source:
        recording = Recording([source], use_case.events, use_case.label, layout)
    result = watched(
        "replay", send, recording, url, first_day=first_day, last_day=last_day, singles=singles, key=key
    )
    show(result, json_)
    if result.failed:
        raise MlopsError(
            f"{result.failed} of {result.requests} requests failed", where=url, todo=result.errors[0]
        )


def _api_key(file: Path | None) -> str:
    """The key to send, none if there is none. On the command line all that use the machine would see it."""
    where: str | Path = "MLOPS_API_KEY" if file is None else file
    try:
        key = os.environ.get("MLOPS_API_KEY", "") if file is None else file.read_text("ascii").strip()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ConfigError(f"no API key can be read: {why}", where=where) from None
    except UnicodeDecodeError:
        key = ""
    if (file is not None and not key) or not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError("is no API key", where=where, todo="make one: mlops keys create NAME --scope score")
    return key
