"""The `mlops` command's group, and what its subcommands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from mlops.errors import ConfigError
from mlops.settings import Settings
from pipelines.options import PATH

__all__ = ["cli", "knob_values", "show", "watched"]


class _InOrder(click.Group):
    """Commands in the order in which they were added, that of the lifecycle, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--home", type=PATH, help="Where everything lies (MLOPS_HOME, else runs/main).")
@click.option("--usecase", help="The use case's package (MLOPS_USECASE, else usecases.fraud).")
@click.version_option(package_name="mlops-reference-platform", message="mlops %(version)s")
@click.pass_context
def cli(ctx: click.Context, home: Path | None, usecase: str | None) -> None:
    """A machine-learning product through its whole life, one command a step."""
    ctx.obj = Settings.from_env(home=home, usecase=usecase)


def show(result: Any, json_: bool = False) -> None:
    """Print a step's result: as JSON, or a field a line."""
    if json_:
        print(msgspec.json.encode(result, enc_hook=str).decode())  # paths as text
        return
    for name, value in msgspec.to_builtins(result, enc_hook=str).items():
        print(f"{name.replace('_', ' '):<22} {f'{value:.4g}' if isinstance(value, float) else _told(value)}")


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_told(part)}" for key, part in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_told, value)) or "none"
    return "none" if value is None else str(value)


def watched(title: str, step: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run one step, and show on standard error that it runs."""
    from pipelines.engine import LocalEngine
    from pipelines.view import View

    with View(f"mlops {title}") as view:
        return LocalEngine(view).run(title, step, *args, **kwargs)


def knob_values(pairs: tuple[str, ...]) -> dict[str, Any]:
    """KEY=VALUE as a value by key; a value is JSON, or text.

    Raises:
        ConfigError: there is no equals sign.
    """
    knobs: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"{pair!r} is not KEY=VALUE", where="--set")
        try:
            knobs[name] = msgspec.json.decode(text)
        except msgspec.DecodeError:
            knobs[name] = text
    return knobs
