"""A key pair is made once; nothing that is there is replaced, and no folder but a new one changes its mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.errors import ConfigError
from mlops.signing import PRIVATE_KEY, PUBLIC_KEY, ensure_keys


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    ensure_keys(folder)
    return folder


def test_a_new_folder_is_its_owners_only_and_a_pair_stays_what_it_is(keys: Path) -> None:
    assert keys.stat().st_mode & 0o777 == 0o700
    before = contents(keys)
    ensure_keys(keys)
    ensure_keys(keys, make=False)
    assert contents(keys) == before


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    ensure_keys(shared)
    (shared / PUBLIC_KEY).unlink()
    ensure_keys(shared)
    assert shared.stat().st_mode & 0o777 == 0o755


def test_a_public_key_alone_is_not_replaced(keys: Path) -> None:
    (keys / PRIVATE_KEY).unlink()
    before = contents(keys)
    with pytest.raises(ConfigError, match=rf"{PRIVATE_KEY}: no such key"):
        ensure_keys(keys)
    assert contents(keys) == before


def test_keys_of_two_pairs_are_refused(keys: Path, tmp_path: Path) -> None:
    ensure_keys(tmp_path / "other")
    (keys / PUBLIC_KEY).write_bytes((tmp_path / "other" / PUBLIC_KEY).read_bytes())
    with pytest.raises(ConfigError, match="keys: the two keys in it are not a pair"):
        ensure_keys(keys)


@pytest.mark.parametrize("name", [PRIVATE_KEY, PUBLIC_KEY])
def test_what_is_no_key_is_refused(keys: Path, name: str) -> None:
    (keys / name).write_text("no key")
    with pytest.raises(ConfigError, match=name):
        ensure_keys(keys)


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ((PRIVATE_KEY, PUBLIC_KEY), "keys: no key pair to sign bundles with; .* mlops keys pair FOLDER"),
        ((PRIVATE_KEY,), rf"{PRIVATE_KEY}: no such key; bring the missing half"),
        ((PUBLIC_KEY,), rf"{PUBLIC_KEY}: no such key; bring the missing half"),
    ],
)
def test_where_none_may_be_made_none_is(keys: Path, lost: tuple[str, ...], said: str) -> None:
    for name in lost:
        (keys / name).unlink()
    before = contents(keys)
    with pytest.raises(ConfigError, match=said):
        ensure_keys(keys, make=False)
    assert contents(keys) == before


def test_a_folder_that_does_not_exist_is_not_made_where_no_key_may_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no key pair"):
        ensure_keys(tmp_path / "keys", make=False)
    assert not (tmp_path / "keys").exists()
