"""`mlops serve` is `python -m serving`, told where the home's things are, and no password on its command line."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import pytest

from mlops.settings import Settings
from pipelines.cli import main
from pipelines.ports import free_port
from pipelines.server import running_server, serving_command, variables
from serving.options import Options, options_of, read_options
from tests.serving.example import World


def test_a_home_says_where_its_champion_store_logs_and_key_are() -> None:
    settings = Settings(home=Path("/somewhere"))
    options = read_options([], variables(settings, {}))
    assert options == Options(
        pointer=settings.pointer,
        store="/somewhere/store",
        decisions=settings.decisions,
        audit=settings.decisions,
        public_key=Path("/somewhere/keys/verify-key.pem"),
        log_format=options.log_format,
    )


def test_the_variables_of_the_server_count_and_the_command_line_wins() -> None:
    env = {
        "MLOPS_SERVING_PORT": "9000",
        "MLOPS_SERVING_WORKERS": "3",
        "MLOPS_SERVING_HOST": "0.0.0.0",
        "MLOPS_SERVING_NO_KEYS": "1",
        "MLOPS_SERVING_DECISIONS": "/log",
        "MLOPS_SERVING_POINTER": "",
    }
    settings = Settings(home=Path("/somewhere"))
    options = read_options(["--workers", "2"], variables(settings, env))
    assert (options.port, options.workers, options.host, options.no_keys) == (9000, 2, "0.0.0.0", True)
    assert (options.decisions, options.pointer) == (Path("/log"), settings.pointer)


def test_a_redis_with_its_password_is_in_the_environment() -> None:
    settings = Settings(store="redis://:s3cret@host:1/0")
    assert read_options([], variables(settings, {})).store == settings.store


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Options]:
    """What `mlops serve` of a home with a champion becomes is read here, instead of being executed."""
    (tmp_path / "deployments").mkdir()
    (tmp_path / "deployments" / "current.json").write_text("{}")
    became: list[Options] = []

    def execve(path: str, line: Sequence[str], env: Mapping[str, str]) -> None:
        assert list(line[:3]) == [path, "-m", "serving"]
        became.append(options_of(line[3:], env))

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    return became


def test_mlops_serve_takes_every_option_and_every_variable_of_the_server(
    started: list[Options], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_SERVING_PORT", "9000")
    monkeypatch.setenv("MLOPS_SERVING_QUEUE", "7")
    monkeypatch.setenv("MLOPS_SERVING_NO_KEYS", "true")
    main(["serve", "--queue", "9", "--fsync"])
    (options,) = started
    assert (options.port, options.queue, options.no_keys, options.fsync) == (9000, 9, True, True)


def test_the_command_that_the_demo_ends_with_serves(started: list[Options], tmp_path: Path) -> None:
    _, *line = shlex.split(serving_command(Settings(home=tmp_path)))
    main(line)
    (options,) = started
    assert options.pointer == tmp_path / "deployments" / "current.json"


@pytest.mark.parametrize("arguments", [["--quue", "9"], []])
def test_what_is_misspelt_is_one_line(
    arguments: list[str],
    started: list[Options],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not arguments:
        monkeypatch.setenv("MLOPS_SERVING_QUUE", "9")
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--no-keys", *arguments])
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and not started
    assert "QUUE" in line.upper()


def test_its_help_is_the_server_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert said.startswith("usage: mlops serve ") and "--drain-seconds" in said
    assert "decisions and public key are those of the home" in said and "mlops serve --no-keys\n" in said


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


def test_a_server_that_the_platform_starts_is_this_home_s_whatever_the_variables_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    world.deploy("1", world.bundle())
    monkeypatch.setenv("MLOPS_SERVING_POINTER", "/nowhere.json")
    monkeypatch.setenv("MLOPS_SERVING_KEYS", "/nowhere/keys.json")
    monkeypatch.setenv("MLOPS_SERVING_QUUE", "9")
    with running_server(Settings(home=tmp_path), port=free_port()) as url:
        assert httpx.get(f"{url}/readyz").json()["version"] == "1"
