"""Keys are made once and shown once; the file holds their hashes, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlops.api_keys import create_key, load_keys, revoke_key
from mlops.errors import ConfigError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "api-keys.json"


def test_only_the_hash_of_a_key_is_kept_for_its_owner_alone(path: Path) -> None:
    key = create_key(path, "acquirer", ["score", "labels"], rate_per_second=100)
    assert re.fullmatch(r"mlk_[A-Za-z0-9_-]{43}", key)
    assert key not in path.read_text() and key.removeprefix("mlk_") not in path.read_text()
    (entry,) = load_keys(path)
    assert entry.sha256 == hashlib.sha256(key.encode()).hexdigest()
    assert (entry.name, entry.scopes, entry.rate_per_second, entry.burst) == (
        "acquirer",
        ("score", "labels"),
        100,
        100,
    )
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [child.name for child in path.parent.iterdir()] == [path.name]


def test_no_two_keys_are_alike(path: Path) -> None:
    assert len({create_key(path, f"key-{number}", ["score"]) for number in range(20)}) == 20


def test_a_file_keeps_the_mode_it_was_given(path: Path) -> None:
    create_key(path, "one", ["score"])
    path.chmod(0o640)
    create_key(path, "two", ["score"])
    revoke_key(path, "one")
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_revoked_key_is_gone_and_the_others_stay(path: Path) -> None:
    create_key(path, "one", ["score"])
    create_key(path, "two", ["admin"], expires_at=datetime(2040, 1, 1, tzinfo=UTC))
    two = load_keys(path)[1]
    revoke_key(path, "one")
    assert load_keys(path) == (two,)
    revoke_key(path, "two")
    assert load_keys(path) == ()


def test_what_makes_no_sense_is_refused_and_changes_nothing(path: Path) -> None:
    create_key(path, "one", ["score"])
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="there is a key of that name; take another, such as one-2"):
        create_key(path, "one", ["score"])
    with pytest.raises(ConfigError, match="not a name of a key"):
        create_key(path, "two\nlines", ["score"])
    with pytest.raises(ConfigError, match="burst without a rate"):
        create_key(path, "two", ["score"], burst=3)
    with pytest.raises(ConfigError, match=r"scopes"):
        create_key(path, "two", [])
    with pytest.raises(ConfigError, match=r"scopes\[0\]"):
        create_key(path, "two", ["all"])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="rate_per_second"):
        create_key(path, "two", ["score"], rate_per_second=0)
    with pytest.raises(ConfigError, match="burst"):
        create_key(path, "two", ["score"], rate_per_second=1, burst=0)
    with pytest.raises(ConfigError, match="no key 'two'; there are: one"):
        revoke_key(path, "two")
    assert path.read_bytes() == before


def test_a_missing_file_is_an_error_in_one_line_and_its_folder_is_not_made(path: Path) -> None:
    for step in (lambda: load_keys(path), lambda: revoke_key(path, "one")):
        with pytest.raises(ConfigError, match="no such file of API keys; make one: mlops keys create"):
            step()
    assert not path.parent.exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a file of API keys"),
        (b'{"keys": [', "not a file of API keys"),
        (b"\xff\xfe{", "not a file of API keys"),
        (b"[]", "not a file of API keys"),
        (b'{"keys": [], "more": 1}', "more"),
        (b'{"keys": [{"name": "one", "scopes": ["score"], "sha256": "00"}]}', r"keys\[0\]"),
    ],
)
def test_a_file_that_is_none_is_refused(path: Path, data: bytes, said: str) -> None:
    path.parent.mkdir()
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=said):
        load_keys(path)
    with pytest.raises(ConfigError, match=said):
        create_key(path, "one", ["score"])
    assert path.read_bytes() == data


def test_a_file_with_two_keys_of_one_name_or_hash_is_refused(path: Path) -> None:
    create_key(path, "one", ["score"])
    create_key(path, "two", ["score"])
    content = json.loads(path.read_text())
    for part in ("name", "sha256"):
        one, two = content["keys"]
        path.write_text(json.dumps({"keys": [one, two | {part: one[part]}]}))
        with pytest.raises(ConfigError, match=f"two keys have one {part}"):
            load_keys(path)


@pytest.mark.parametrize("where", ["name", "sha256", "scopes", "unknown"])
def test_a_key_written_into_the_file_by_mistake_is_not_repeated_by_the_error(path: Path, where: str) -> None:
    key = create_key(path, "one", ["score"])
    (entry,) = json.loads(path.read_text())["keys"]
    wrong = {key: 1} if where == "unknown" else {where: [key] if where == "scopes" else key + "!"}
    path.write_text(json.dumps({"keys": [entry | wrong]}))
    with pytest.raises(ConfigError) as refused:
        load_keys(path)
    assert key not in str(refused.value)


def test_keys_made_at_the_same_time_are_all_there(path: Path) -> None:
    names = [f"key-{number}" for number in range(12)]
    threads = [threading.Thread(target=create_key, args=(path, name, ["score"])) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key.name for key in load_keys(path)) == sorted(names)


def test_the_file_is_replaced_not_rewritten(path: Path) -> None:
    create_key(path, "one", ["score"])
    before, held = path.read_bytes(), path.open("rb")
    create_key(path, "two", ["score"])
    with held:
        assert held.read() == before
    assert os.listdir(path.parent) == [path.name]
