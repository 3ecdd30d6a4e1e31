"""What is wrong with a key is said of the key's file, and never in another library's error."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from mlops.errors import ConfigError
from mlops.signing import PRIVATE_KEY, PUBLIC_KEY, ensure_keys, load_private_key, load_public_key

PEM = serialization.Encoding.PEM


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    ensure_keys(tmp_path / "keys")
    return tmp_path / "keys"


def remove(path: Path) -> None:
    path.unlink()


def make_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def write_garbage(path: Path) -> None:
    path.write_bytes(b"\x00not a key")


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


Pair = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def put(path: Path, key: Pair) -> None:
    if path.name == PUBLIC_KEY:
        public = serialization.PublicFormat.SubjectPublicKeyInfo
        path.write_bytes(key.public_key().public_bytes(PEM, public))
    else:
        pkcs8 = serialization.PrivateFormat.PKCS8
        path.write_bytes(key.private_bytes(PEM, pkcs8, serialization.NoEncryption()))


def swap_for_another_curve(path: Path) -> None:
    put(path, ec.generate_private_key(ec.SECP256K1()))


def swap_for_rsa(path: Path) -> None:
    put(path, rsa.generate_private_key(65537, 2048))


def swap_for_one_of_an_older_version(path: Path) -> None:
    put(path, ed25519.Ed25519PrivateKey.generate())


SPOILT = [
    (remove, "no such key"),
    (make_a_folder, "cannot be read: Is a directory"),
    (write_garbage, "not a .* key in PEM"),
    (cut_short, "not a .* key in PEM"),
    (swap_for_another_curve, "not an elliptic curve key of P-256"),
    (swap_for_rsa, "not an elliptic curve key of P-256"),
    (
        swap_for_one_of_an_older_version,
        "an Ed25519 key, with which bundles are no longer signed; move .* aside",
    ),
]
BY_NAME = [spoil.__name__ for spoil, _ in SPOILT]


@pytest.mark.parametrize(("spoil", "reason"), SPOILT, ids=BY_NAME)
def test_a_public_key_that_is_none_is_named_with_its_file(keys: Path, spoil: object, reason: str) -> None:
    assert callable(spoil)
    spoil(keys / PUBLIC_KEY)
    with pytest.raises(ConfigError, match=f"{PUBLIC_KEY}: {reason}"):
        load_public_key(keys / PUBLIC_KEY)


@pytest.mark.parametrize(("spoil", "reason"), SPOILT, ids=BY_NAME)
def test_a_private_key_that_is_none_is_named_with_its_file(keys: Path, spoil: object, reason: str) -> None:
    assert callable(spoil)
    spoil(keys / PRIVATE_KEY)
    with pytest.raises(ConfigError, match=f"{PRIVATE_KEY}: {reason}"):
        load_private_key(keys)


def test_a_private_key_behind_a_password_is_refused(keys: Path) -> None:
    pem = serialization.load_pem_private_key((keys / PRIVATE_KEY).read_bytes(), password=None)
    locked = serialization.BestAvailableEncryption(b"secret")
    (keys / PRIVATE_KEY).write_bytes(pem.private_bytes(PEM, serialization.PrivateFormat.PKCS8, locked))
    with pytest.raises(ConfigError, match="without a password"):
        load_private_key(keys)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda c: c.name)
def test_a_pair_of_any_curve_that_openssf_knows_is_taken(keys: Path, curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    for name in (PRIVATE_KEY, PUBLIC_KEY):
        put(keys / name, key)
    ensure_keys(keys, make=False)
    assert load_private_key(keys).public_key() == load_public_key(keys / PUBLIC_KEY)


def test_keys_of_an_older_version_are_kept_and_the_reader_is_told_what_to_do(keys: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    for name in (PRIVATE_KEY, PUBLIC_KEY):
        put(keys / name, key)
    before = {path.name: path.read_bytes() for path in keys.iterdir()}
    with pytest.raises(ConfigError, match="an Ed25519 key") as refused:
        ensure_keys(keys)
    assert "move keys/" in refused.value.todo and "train and promote again" in refused.value.todo
    assert {path.name: path.read_bytes() for path in keys.iterdir()} == before


def test_a_pair_is_made_once_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on FUSE mounts, Databricks' volumes among them."""

    def link(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "link", link)
    keys = tmp_path / "keys"
    ensure_keys(keys)
    assert load_private_key(keys).public_key() == load_public_key(keys / PUBLIC_KEY)
    made = (keys / PRIVATE_KEY).read_bytes()
    assert (keys / PRIVATE_KEY).stat().st_mode & 0o777 == 0o600

    # Another process made it between being looked for and being written.
    (keys / PUBLIC_KEY).unlink()
    looked = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path.name != PRIVATE_KEY and looked(path))
    ensure_keys(keys)
    assert (keys / PRIVATE_KEY).read_bytes() == made
    assert load_private_key(keys).public_key() == load_public_key(keys / PUBLIC_KEY)
