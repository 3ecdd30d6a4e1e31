"""The scoring server is started with the home's store, and no password on its command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.settings import Settings
from pipelines.cli import main
from pipelines.server import command, environment
from serving.options import options_of


def test_the_store_of_the_home_is_an_argument() -> None:
    settings = Settings(home=Path("/somewhere"))
    assert options_of(command(settings)[3:], {}).store == "/somewhere/store"


def test_a_redis_with_its_password_is_in_the_environment_only() -> None:
    settings = Settings(store="redis://:s3cret@host:1/0")
    assert "s3cret" not in " ".join(command(settings))
    assert environment(settings)["MLOPS_STORE"] == settings.store


def test_who_may_ask_and_how_many_answer_are_passed_on() -> None:
    settings = Settings(home=Path("/somewhere"))
    options = options_of(command(settings, workers=2, keys=Path("/keys.json"))[3:], {})
    assert (options.workers, options.keys, options.no_keys) == (2, Path("/keys.json"), False)
    assert options_of(command(settings)[3:], {}).no_keys


def test_serving_without_a_word_on_keys_says_in_one_line_what_to_do(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "deployments").mkdir()
    (tmp_path / "deployments" / "current.json").write_text("{}")
    with pytest.raises(SystemExit) as ended:
        main(["--home", str(tmp_path), "serve"])
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert "--no-keys" in line and "mlops keys create" in line and "--keys FILE" in line
