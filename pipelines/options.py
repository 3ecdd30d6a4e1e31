"""What several subcommands of `mlops` can be told in the same words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import click

from mlops.contract import EFFORTS
from mlops.errors import ConfigError

__all__ = [
    "DATE",
    "PATH",
    "PLACE",
    "as_json",
    "delivery_options",
    "effort_option",
    "events_option",
    "layout_options",
    "refuse_future",
    "run_options",
    "seed_option",
    "train_from_option",
    "url_option",
]

F = TypeVar("F", bound=Callable[..., Any])


class _Date(click.ParamType):
    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        try:
            day = value if isinstance(value, date) else date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a date; write it as 2018-07-25", param, ctx)
        if not 1970 <= day.year <= 2200:
            self.fail(f"{day} is not between 1970 and 2200", param, ctx)
        return day


PATH = click.Path(path_type=Path)
DATE = _Date()
PLACE = "PATH|URI"
as_json = click.option("--json", "json_", is_flag=True, help="Print the result as JSON.")
seed_option = click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),  # what scikit-learn takes
    default=0,
    show_default=True,
    help="Of everything that is drawn.",
)
effort_option = click.option(
    "--effort",
    type=click.Choice(EFFORTS),
    default="quick",
    show_default=True,
    help="How long to look for good parameters, a candidate: not at all, minutes, or up to a quarter of an hour.",
)
train_from_option = click.option(
    "--train-from",
    type=DATE,
    help="First day of training; by default the latest that leaves room for the test.",
)
events_option = click.option(
    "--events",
    metavar=PLACE,
    required=True,
    help="Parquet or CSV, a file or a folder of files, here or as in s3://bucket/raw.",
)


def _address(ctx: click.Context, param: click.Parameter, value: str) -> str:
    try:
        parts = urlsplit(value)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise ConfigError(
            f"{value!r} is no address of a server", where="--url", todo="write it as http://127.0.0.1:8080"
        )
    return value


url_option = click.option(
    "--url",
    default="http://127.0.0.1:8080",
    show_default=True,
    callback=_address,
    help="Where the server is.",
)


def refuse_future(day: date, where: str) -> None:
    """Refuse a day after today, by which more would be removed than anybody kept long enough.

    Args:
        where: the option that named it.

    Raises:
        ConfigError: it is after today (UTC).
    """
    today = datetime.now(UTC).date()
    if day > today:
        raise ConfigError(
            f"{day} is after today, {today} (UTC)", where=where, todo="name a day that has come"
        )


def delivery_options(command: F) -> F:
    """`--as-of` and `--force`, of commands that validate."""
    as_of = click.option(
        "--as-of", type=DATE, help="Judge as of the end of this day whether the newest event is fresh."
    )
    force = click.option(
        "--force", is_flag=True, help="Publish also what is not as expected; it is logged that you did."
    )
    return as_of(force(command))


def run_options(command: F) -> F:
    """What can be said of a run of the whole lifecycle, whoever runs it."""
    for option in (seed_option, effort_option, delivery_options, train_from_option, events_option):
        command = option(command)
    return command


def layout_options(command: F) -> F:
    """How foreign files are laid out, of commands that read them; the command gets a `layout`, or None."""

    @wraps(command)
    def with_layout(
        *args: Any,
        layout_file: Path | None,
        columns: tuple[str, ...],
        separator: str,
        encoding: str,
        **kwargs: Any,
    ) -> Any:
        from pipelines.given_layout import given_layout

        layout = given_layout(layout_file, columns, separator, encoding)
        return command(*args, layout=layout, **kwargs)

    options = (
        click.option(
            "--map",
            "columns",
            metavar="OURS=THEIRS",
            multiple=True,
            help="What the files call a column of ours; of two for one, such as date and time, the values are joined.",
        ),
        click.option(
            "--layout",
            "layout_file",
            type=PATH,
            metavar="FILE.yaml",
            help="Column map and how times, booleans and numbers are written.",
        ),
        click.option(
            "--separator", default="", help="Of CSV fields, where it is not found out; `tab` is one."
        ),
        click.option("--encoding", default="", help="Of text that is not UTF-8, such as latin-1 or cp1252."),
    )
    decorated: Any = with_layout
    for option in reversed(options):
        decorated = option(decorated)
    return cast(F, decorated)
