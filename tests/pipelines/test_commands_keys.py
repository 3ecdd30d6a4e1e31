"""Keys on the command line: made once and printed once, listed without secrets, revoked by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlops.api_keys import load_keys
from mlops.signing import PRIVATE_KEY, ensure_keys
from tests.command import exit_code


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    monkeypatch.delenv("MLOPS_SERVING_KEYS", raising=False)
    return tmp_path


def mlops(*arguments: str) -> int:
    return exit_code("keys", *arguments)


def test_a_key_is_printed_alone_and_only_when_it_is_made(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--scope", "score", "--scope", "labels", "--rate", "100", "--burst", "20")
    assert mlops("create", "acquirer", *options) == 0
    key, said = capsys.readouterr()
    assert key.startswith("mlk_") and key.count("\n") == 1 and key.strip() not in said
    file = home / "keys" / "api-keys.json"
    assert str(file) in said
    (entry,) = load_keys(file)
    assert (entry.scopes, entry.rate_per_second, entry.burst) == (("score", "labels"), 100, 20)

    assert mlops("list") == 0
    assert mlops("list", "--json") == 0
    shown = capsys.readouterr().out
    table, listed = shown.splitlines()
    assert "acquirer" in table and "score labels" in table and "100/s, 20 at once" in table
    assert json.loads(listed)[0]["name"] == "acquirer"
    assert key.strip() not in shown and entry.sha256 not in shown


def test_a_key_may_end_on_a_day(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mlops("create", "brief", "--scope", "score", "--expires", "2199-01-01") == 0
    assert mlops("list") == 0
    assert "until 2199-01-01 00:00 UTC" in capsys.readouterr().out
    assert mlops("create", "late", "--scope", "score", "--expires", "2020-01-01") == 2
    assert "2020-01-01 is not in the future" in capsys.readouterr().err


def test_a_revoked_key_is_listed_no_more(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mlops("create", "one", "--scope", "score")
    mlops("create", "two", "--scope", "admin")
    capsys.readouterr()
    assert mlops("revoke", "one") == 0
    assert "key one is revoked" in capsys.readouterr().out
    assert mlops("list") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["two"]


def test_the_file_may_be_another_the_one_that_the_server_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mlops("create", "one", "--scope", "score", "--file", str(home / "a" / "keys.json")) == 0
    monkeypatch.setenv("MLOPS_SERVING_KEYS", str(home / "a" / "keys.json"))
    assert mlops("create", "two", "--scope", "score") == 0
    assert [key.name for key in load_keys(home / "a" / "keys.json")] == ["one", "two"]
    assert not (home / "keys").exists()


def test_a_pair_to_sign_with_is_made_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = home / "signing"
    assert mlops("pair", str(folder)) == 0
    assert "made a pair" in capsys.readouterr().out
    ensure_keys(folder, make=False)
    made = (folder / PRIVATE_KEY).read_bytes()
    assert mlops("pair", str(folder)) == 0
    said = capsys.readouterr().out
    assert "is there, and stays" in said and "PRIVATE" not in said
    assert (folder / PRIVATE_KEY).read_bytes() == made
    (folder / PRIVATE_KEY).unlink()
    assert mlops("pair", str(folder)) == 2
    assert f"{PRIVATE_KEY}: no such key" in capsys.readouterr().err


def test_a_pair_that_cannot_be_written_is_refused_in_words(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "file").touch()
    assert mlops("pair", str(home / "file" / "signing")) == 2
    err = capsys.readouterr().err
    assert "cannot be written" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "one"), "Missing option '--scope'"),
        (("create", "one", "--scope", "all"), "'all' is not one of"),
        (("create", "a b", "--scope", "score"), "not a name of a key"),
        (("create", "one", "--scope", "score", "--rate", "0"), "--rate"),
        (("create", "one", "--scope", "score", "--burst", "5"), "burst without a rate"),
        (("list",), "no such file of API keys"),
        (("revoke", "one"), "no such file of API keys"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mlops(*arguments) == 2
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err
