"""Ed25519 keys that sign bundles (training) and verify them (serving)."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mlops.errors import ConfigError, IntegrityError
from mlops.storage import replace_file

__all__ = ["PRIVATE_KEY", "PUBLIC_KEY", "ensure_keys", "sign", "verify"]

PRIVATE_KEY = "signing-key.pem"
PUBLIC_KEY = "verify-key.pem"
_NO_KEY = ValueError, TypeError, UnsupportedAlgorithm
"""What cryptography raises for a file that holds no key, one behind a password, or one of a kind it does not know."""


def ensure_keys(folder: Path, *, make: bool = True) -> None:
    """See to it that `folder` holds a key pair; make one if it holds no key, unless `make` is false.

    The private key is readable by its owner only, and so is a folder made for it; one that is there keeps its mode.
    A public key that is there is never replaced, since others trust it; a lost one is made from the private key.
    Several processes may call it at once: the first private key stays, and the public one follows from it.

    Raises:
        ConfigError: the private key is missing where it may not be made, or the two are not a pair of Ed25519 keys.
    """
    private, public = folder / PRIVATE_KEY, folder / PUBLIC_KEY
    if not make or public.exists():  # looked for first, as a private key that is being made comes before it
        for path in (private, public):
            if not path.exists():
                raise ConfigError(
                    "no such key",
                    where=path,
                    todo="bring the missing half of the pair, or name another folder",
                )
        _require_pair(folder)
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = serialization.Encoding.PEM
    if not private.exists():
        made = Ed25519PrivateKey.generate()
        with _aside(private) as path, suppress(FileExistsError):
            path.touch(mode=0o600)
            path.write_bytes(
                made.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            )
            os.link(path, private)  # unlike a rename, it does not replace one that is there by now
    key = _private_key(folder).public_key()
    with replace_file(public) as path:
        path.write_bytes(key.public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))


def _require_pair(folder: Path) -> None:
    try:
        verify(folder / PUBLIC_KEY, b"a pair", sign(folder, b"a pair"))
    except IntegrityError:
        raise ConfigError(
            "the two keys in it are not a pair",
            where=folder,
            todo="bring back the private key of the public one",
        ) from None


@contextmanager
def _aside(target: Path) -> Iterator[Path]:
    path = target.with_name(f".tmp-{target.name}-{uuid.uuid4().hex[:8]}")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _private_key(folder: Path) -> Ed25519PrivateKey:
    pem = _read(folder / PRIVATE_KEY)
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except _NO_KEY:
        raise ConfigError("not a private key in PEM without a password", where=folder / PRIVATE_KEY) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError("not an Ed25519 key", where=folder / PRIVATE_KEY)
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            "no such key", where=path, todo="bundles are signed with the keys in this folder"
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=path) from None


def sign(folder: Path, message: bytes) -> bytes:
    """The signature of `message` under the private key in `folder`.

    Raises:
        ConfigError: there is no key, or it cannot be read, or it is of another kind.
    """
    return _private_key(folder).sign(message)


def verify(public_key: Path, message: bytes, signature: bytes) -> None:
    """Check `signature` with the public key in the file `public_key`.

    Raises:
        ConfigError: there is no key, or it cannot be read, or it is of another kind.
        IntegrityError: the signature is not this key's over this message.
    """
    pem = _read(public_key)
    try:
        key = serialization.load_pem_public_key(pem)
    except _NO_KEY:
        raise ConfigError("not a public key in PEM", where=public_key) from None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError("not an Ed25519 key", where=public_key)
    try:
        key.verify(signature, message)
    except InvalidSignature:
        raise IntegrityError("the signature does not match", where=public_key) from None
