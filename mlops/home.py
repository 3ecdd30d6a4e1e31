"""Whose home it is: the use case whose events lie there.

A command that is given no use case takes the default one. On the home of another it would compute nonsense, or replace
the tables; so the home says whose it is, and whoever works with it asks.
"""

from __future__ import annotations

import msgspec

from mlops.contract import UseCase, load_use_case
from mlops.errors import ConfigError
from mlops.settings import Settings
from mlops.storage import read_json, write_json

__all__ = ["OWNER", "claim", "must_be_home", "use_case_of"]

OWNER = "usecase.json"


class _Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The use case's name, and the package that was named when its first events came."""

    name: str
    package: str


def must_be_home(settings: Settings) -> None:
    """Refuse a home that is not there, where somebody asks for what a command left in it.

    Raises:
        ConfigError: there is no such folder.
    """
    if not settings.home.is_dir():
        raise ConfigError(
            "no such home", where=settings.home, todo="name another with --home, or make this one: mlops run"
        )


def use_case_of(settings: Settings) -> UseCase:
    """The use case of the settings, to work with in their home.

    Raises:
        ConfigError: there is none, or the home is another's.
    """
    use_case = load_use_case(settings.usecase)
    path = settings.home / OWNER
    if path.exists():
        owner = read_json(path, _Owner)
        if owner.name != use_case.name:
            raise ConfigError(
                f"is the home of {owner.package}, not of {settings.usecase}",
                where=settings.home,
                todo=f"add --usecase {owner.package} (MLOPS_USECASE), or name another --home",
            )
    return use_case


def claim(settings: Settings) -> None:
    """Note whose home it is, as the first of its events are there.

    Raises:
        ConfigError: as for `use_case_of`.
    """
    name = use_case_of(settings).name
    if not (settings.home / OWNER).exists():
        write_json(settings.home / OWNER, _Owner(name=name, package=settings.usecase))
