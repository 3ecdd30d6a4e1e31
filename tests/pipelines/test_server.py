"""The scoring server is started with the home's store, and no password on its command line."""

from __future__ import annotations

from pathlib import Path

from mlops.settings import Settings
from pipelines.server import command, environment
from serving.options import options_of


def test_the_store_of_the_home_is_an_argument() -> None:
    settings = Settings(home=Path("/somewhere"))
    assert options_of(command(settings)[3:], {}).store == "/somewhere/store"


def test_a_redis_with_its_password_is_in_the_environment_only() -> None:
    settings = Settings(store="redis://:s3cret@host:1/0")
    assert "s3cret" not in " ".join(command(settings))
    assert environment(settings)["MLOPS_STORE"] == settings.store
