"""Elliptic curve keys that sign bundles (training) and verify them (serving)."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mlops.errors import ConfigError
from mlops.given import read_given
from mlops.storage import replace_file

__all__ = ["PRIVATE_KEY", "PUBLIC_KEY", "ensure_keys", "load_private_key", "load_public_key", "pem_of"]

PRIVATE_KEY = "signing-key.pem"
PUBLIC_KEY = "verify-key.pem"
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""NIST's P-256, P-384 and P-521: what OpenSSF model signing knows."""
_NO_KEY = ValueError, TypeError, UnsupportedAlgorithm
"""What cryptography raises for a file that holds no key, one behind a password, or one of a kind it does not know."""
_NOWHERE = "bundles are signed with the keys in this folder"
_OLD = (
    "move keys/, bundles/, deployments/, mlflow.db and mlartifacts/ of that home aside (events and features can stay), "
    "train and promote again, and give the new verify-key.pem to who serves"
)


def ensure_keys(folder: Path, *, make: bool = True) -> None:
    """See to it that `folder` holds a key pair; make one (P-256) if it holds no key, unless `make` is false.

    The private key is readable by its owner only, and so is a folder made for it; one that is there keeps its mode.
    A public key that is there is never replaced, since others trust it; a lost one is made from the private key.
    Several processes may call it at once: the first private key stays, and the public one follows from it.

    Raises:
        ConfigError: the private key is missing where it may not be made, or the two are not a pair of such keys.
    """
    private, public = folder / PRIVATE_KEY, folder / PUBLIC_KEY
    if not make or public.exists():  # looked for first, as a private key that is being made comes before it
        if not private.exists() and not public.exists():
            raise ConfigError(
                "no key pair to sign bundles with",
                where=folder,
                todo="bring the one that they were signed with so far; for the first: mlops keys pair FOLDER",
            )
        for path in (private, public):
            if not path.exists():
                raise ConfigError(
                    "no such key",
                    where=path,
                    todo="bring the missing half of the pair, or name another folder",
                )
        if load_private_key(folder).public_key() != load_public_key(public):
            raise ConfigError(
                "the two keys in it are not a pair",
                where=folder,
                todo="bring back the private key of the public one",
            )
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not private.exists():
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with _aside(private) as path, suppress(FileExistsError):
            path.touch(mode=0o600)
            path.write_bytes(pem)
            _name_once(path, private)
    key = load_private_key(folder).public_key()
    with replace_file(public) as path:
        path.write_bytes(pem_of(key))


def pem_of(key: ec.EllipticCurvePublicKey) -> bytes:
    """A public key as PEM."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def load_private_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    """The private key in `folder`.

    Raises:
        ConfigError: there is no key, or it cannot be read, or it is of another kind.
    """
    path = folder / PRIVATE_KEY
    pem = read_given(path, "key", todo=_NOWHERE)
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except _NO_KEY:
        raise ConfigError("not a private key in PEM without a password", where=path) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
        raise _wrong_kind(path, old=isinstance(key, Ed25519PrivateKey))
    return key


def load_public_key(path: Path) -> ec.EllipticCurvePublicKey:
    """The public key in a file.

    Raises:
        ConfigError: there is no key, or it cannot be read, or it is of another kind.
    """
    pem = read_given(path, "key", todo=_NOWHERE)
    try:
        key = serialization.load_pem_public_key(pem)
    except _NO_KEY:
        raise ConfigError("not a public key in PEM", where=path) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise _wrong_kind(path, old=isinstance(key, Ed25519PublicKey))
    return key


def _wrong_kind(path: Path, *, old: bool) -> ConfigError:
    if old:
        return ConfigError("an Ed25519 key, with which bundles are no longer signed", where=path, todo=_OLD)
    return ConfigError(
        "not an elliptic curve key of P-256, P-384 or P-521",
        where=path,
        todo="bring such a pair, or move this one aside: training makes one where there is none",
    )


def _name_once(path: Path, target: Path) -> None:
    """Give a file its name unless there is one of that name, which a rename would replace.

    Raises:
        FileExistsError: there is.
    """
    try:
        os.link(path, target)
    except FileExistsError:
        raise
    except OSError:  # no hard links: then another process may see it half written
        with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(path.read_bytes())


@contextmanager
def _aside(target: Path) -> Iterator[Path]:
    path = target.with_name(f".tmp-{target.name}-{uuid.uuid4().hex[:8]}")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
