"""What is wrong with a key is said of the key's file, and never in another library's error."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from mlops.errors import ConfigError, IntegrityError
from mlops.signing import PRIVATE_KEY, PUBLIC_KEY, ensure_keys, sign, verify

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


def swap_for_an_elliptic_curve(path: Path) -> None:
    key = generate_private_key(SECP256R1())
    if path.name == PUBLIC_KEY:
        public = serialization.PublicFormat.SubjectPublicKeyInfo
        path.write_bytes(key.public_key().public_bytes(PEM, public))
    else:
        pkcs8 = serialization.PrivateFormat.PKCS8
        path.write_bytes(key.private_bytes(PEM, pkcs8, serialization.NoEncryption()))


SPOILT = [
    (remove, "no such key"),
    (make_a_folder, "cannot be read: Is a directory"),
    (write_garbage, "not a .* key in PEM"),
    (cut_short, "not a .* key in PEM"),
    (swap_for_an_elliptic_curve, "not an Ed25519 key"),
]
BY_NAME = [spoil.__name__ for spoil, _ in SPOILT]


@pytest.mark.parametrize(("spoil", "reason"), SPOILT, ids=BY_NAME)
def test_a_public_key_that_is_none_is_named_with_its_file(keys: Path, spoil: object, reason: str) -> None:
    assert callable(spoil)
    signature = sign(keys, b"message")
    spoil(keys / PUBLIC_KEY)
    with pytest.raises(ConfigError, match=f"{PUBLIC_KEY}: {reason}"):
        verify(keys / PUBLIC_KEY, b"message", signature)


@pytest.mark.parametrize(("spoil", "reason"), SPOILT, ids=BY_NAME)
def test_a_private_key_that_is_none_is_named_with_its_file(keys: Path, spoil: object, reason: str) -> None:
    assert callable(spoil)
    spoil(keys / PRIVATE_KEY)
    with pytest.raises(ConfigError, match=f"{PRIVATE_KEY}: {reason}"):
        sign(keys, b"message")


def test_a_private_key_behind_a_password_is_refused(keys: Path) -> None:
    pem = serialization.load_pem_private_key((keys / PRIVATE_KEY).read_bytes(), password=None)
    locked = serialization.BestAvailableEncryption(b"secret")
    (keys / PRIVATE_KEY).write_bytes(pem.private_bytes(PEM, serialization.PrivateFormat.PKCS8, locked))
    with pytest.raises(ConfigError, match="without a password"):
        sign(keys, b"message")


def test_a_signature_is_good_for_its_message_and_its_key_only(keys: Path, tmp_path: Path) -> None:
    signature = sign(keys, b"message")
    verify(keys / PUBLIC_KEY, b"message", signature)
    for message, wrong in [(b"massage", signature), (b"message", signature[:-1]), (b"message", b"")]:
        with pytest.raises(IntegrityError, match="does not match"):
            verify(keys / PUBLIC_KEY, message, wrong)
    ensure_keys(tmp_path / "others")
    shutil.copy(tmp_path / "others" / PUBLIC_KEY, keys / PUBLIC_KEY)
    with pytest.raises(IntegrityError, match="does not match"):
        verify(keys / PUBLIC_KEY, b"message", signature)
