"""Commands that make, list and revoke the API keys of the scoring service, and make the pair that signs bundles."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import click

from mlops.api_keys import API_KEYS, SCOPES, Scope, create_key, load_keys, revoke_key
from mlops.errors import ConfigError
from mlops.settings import Settings
from mlops.signing import PRIVATE_KEY, PUBLIC_KEY, ensure_keys
from pipelines.command_line import show
from pipelines.options import DATE, PATH, as_json

__all__ = ["keys"]


def _file_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--file",
        "path",
        type=PATH,
        envvar="MLOPS_SERVING_KEYS",
        help=f"What the server is told with --keys (MLOPS_SERVING_KEYS, else keys/{API_KEYS} in the home).",
    )(command)


def _file(settings: Settings, path: Path | None) -> Path:
    return path or settings.home / "keys" / API_KEYS


@click.group()
def keys() -> None:
    """API keys of the service, and the pair that signs bundles. A running server follows the file of API keys."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True, help="What it may do."
)
@click.option(
    "--rate", type=click.FloatRange(0, 1e6, min_open=True), help="Requests a second; any number without."
)
@click.option(
    "--burst",
    type=click.IntRange(1, 10**6),
    help="Requests at once after a pause; without, what the rate allows in a second.",
)
@click.option("--expires", type=DATE, help="Refuse it from the start of this day on (UTC).")
@_file_option
@click.pass_obj
def create(
    settings: Settings,
    name: str,
    scopes: tuple[Scope, ...],
    rate: float | None,
    burst: int | None,
    expires: date | None,
    path: Path | None,
) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    until = datetime.combine(expires, time(), UTC) if expires else None
    if until is not None and until <= datetime.now(UTC):
        raise ConfigError(f"{expires} is not in the future", where="--expires", todo="name a later day")
    file = _file(settings, path)
    print(create_key(file, name, scopes, rate_per_second=rate, burst=burst, expires_at=until))
    click.echo(f"its hash is in {file}; the key itself is kept nowhere", err=True)


@keys.command(name="list")
@_file_option
@as_json
@click.pass_obj
def list_(settings: Settings, path: Path | None, json_: bool) -> None:
    """List who has a key, what it may do, how often and until when."""
    there = load_keys(_file(settings, path))
    if json_:
        shown = [
            {part: getattr(key, part) for part in key.__struct_fields__ if part != "sha256"} for key in there
        ]
        show(shown, json_)
        return
    now = datetime.now(UTC)
    for key in there:
        rate = f"{key.rate_per_second:g}/s, {key.burst} at once" if key.rate_per_second else "any rate"
        until = "no end"
        if key.expires_at is not None:
            until = f"{'expired' if key.expires_at <= now else 'until'} {key.expires_at:%Y-%m-%d %H:%M} UTC"
        print(f"{key.name:<24} {' '.join(key.scopes):<20} {rate:<24} {until}")


@keys.command()
@click.argument("name")
@_file_option
@click.pass_obj
def revoke(settings: Settings, name: str, path: Path | None) -> None:
    """Take a key out of the file. Running servers refuse it within a second."""
    file = _file(settings, path)
    revoke_key(file, name)
    print(f"key {name} is revoked: it is no longer in {file}")


@keys.command()
@click.argument("folder", type=PATH)
def pair(folder: Path) -> None:
    """Make the pair in FOLDER that signs and verifies bundles. One that is there stays.

    A home's own is made by its first training. This one is for where training is given its keys (MLOPS_SIGNING_KEY).
    """
    there = (folder / PRIVATE_KEY).exists()
    try:
        ensure_keys(folder)
    except OSError as error:
        raise ConfigError(
            f"cannot be written: {error.strerror}", where=folder, todo="name another folder"
        ) from error
    print(f"{folder}: {'the pair is there, and stays' if there else 'made a pair'}")
    print(f"{folder / PRIVATE_KEY}: for training alone, which is told the folder with MLOPS_SIGNING_KEY")
    print(f"{folder / PUBLIC_KEY}: for everybody who serves")
