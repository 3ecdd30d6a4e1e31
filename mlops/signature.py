"""What a signed folder holds, checked: the OpenSSF model-signing format, read with our own public key and no service.

`model.sig` is a Sigstore bundle (JSON, v0.3) with a DSSE envelope around an in-toto statement. The statement lists the
SHA-256 of each file, so it is the one list of digests that there is; the signature is ECDSA over it. `mlops.signer`
writes it with OpenSSF's library. That library would verify it as well, at the price of a quarter of a second, 35 MB and
26 packages in each serving process, and it overlooks added `.git*` files: so reading is this module.

Formats: https://docs.sigstore.dev/about/bundle, https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md,
https://github.com/in-toto/attestation/tree/main/spec/v1, https://github.com/sigstore/model-transparency (1.1).
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from mlops.errors import BundleError, IntegrityError
from mlops.signing import load_public_key, pem_of

__all__ = ["SIGNATURE", "Signed", "verify"]

SIGNATURE = "model.sig"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_HASHES: dict[int, hashes.HashAlgorithm] = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
_AGAIN = "fetch the bundle again from where it was written, or train and promote anew"
_OLD_SIGNATURE = "manifest.sig"
_MOST_OF_SIGNATURE, _MOST = 2**20, 2**30  # bytes
_NO_FILE = "is not a file but a link, a folder or a device"


class _Outer(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What is not signed itself, so that nothing may stand there but what is looked at."""


class _Hint(_Outer, frozen=True):
    hint: str


class _Material(_Outer, frozen=True):
    public_key: _Hint
    tlog_entries: Annotated[list[Any], msgspec.Meta(max_length=0)]


class _Signature(_Outer, frozen=True):
    sig: str
    keyid: Literal[""]


class _Envelope(_Outer, frozen=True):
    payload: str
    payload_type: Literal["application/vnd.in-toto+json"]
    signatures: Annotated[list[_Signature], msgspec.Meta(min_length=1, max_length=1)]


class _SigstoreBundle(_Outer, frozen=True):
    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]
    verification_material: _Material
    dsse_envelope: _Envelope


class _Digest(msgspec.Struct, frozen=True):
    sha256: str


class _Subject(msgspec.Struct, frozen=True):
    name: str
    digest: _Digest


class _Resource(msgspec.Struct, frozen=True):
    name: str
    algorithm: Literal["sha256"]
    digest: str


class _Serialization(msgspec.Struct, frozen=True):
    method: Literal["files"]
    hash_type: Literal["sha256"]
    allow_symlinks: Literal[False]


class _Predicate(msgspec.Struct, frozen=True):
    serialization: _Serialization
    resources: list[_Resource]


class _Statement(msgspec.Struct, frozen=True, rename={"type": "_type", "predicate_type": "predicateType"}):
    type: Literal["https://in-toto.io/Statement/v1"]
    subject: Annotated[list[_Subject], msgspec.Meta(min_length=1, max_length=1)]
    predicate_type: Literal["https://model_signing/signature/v1.0"]
    predicate: _Predicate


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a folder as they were signed, and the digest over all of them: the same files, the same digest."""

    digest: str
    files: Mapping[str, bytes]


def verify(folder: Path, public_key: Path) -> Signed:
    """Read a signed folder, all of it or nothing: signature, then names, then each file's digest. Nothing is parsed.

    Only files are read, and no more than 1 MiB of a signature and 1 GiB of all files: whoever can write into the folder
    can neither keep the reader waiting nor fill its memory.

    Raises:
        ConfigError: the public key cannot be read, or is of a kind that signs no bundles.
        BundleError: the folder, or a file in it, is missing or cannot be read, or is larger than that.
        IntegrityError: it was signed with another key, or is not what was signed: altered, or something was added.
    """
    key = load_public_key(public_key)
    statement = _statement(folder, key, public_key)
    listed = {resource.name: resource.digest for resource in statement.predicate.resources}
    _check_names(folder, listed)
    files, room = {}, _MOST
    for name, digest in listed.items():
        files[name] = _read(folder / name, room)
        room -= len(files[name])
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise IntegrityError("is not the file that was signed", where=folder / name, todo=_AGAIN)
    return Signed(digest=statement.subject[0].digest.sha256, files=files)


def _statement(folder: Path, key: ec.EllipticCurvePublicKey, public_key: Path) -> _Statement:
    path = folder / SIGNATURE
    if not os.path.lexists(path) and (folder / _OLD_SIGNATURE).exists():
        raise BundleError(
            f"signed as by an older version, in {_OLD_SIGNATURE}",
            where=folder,
            todo="train and promote again",
        )
    try:
        bundle = msgspec.json.decode(_read(path, _MOST_OF_SIGNATURE), type=_SigstoreBundle)
        payload = _decode(bundle.dsse_envelope.payload)
        signature = _decode(bundle.dsse_envelope.signatures[0].sig)
    except (msgspec.DecodeError, ValueError) as error:
        raise IntegrityError(f"is not a signature: {error}", where=path, todo=_AGAIN) from None
    if bundle.verification_material.public_key.hint != hashlib.sha256(pem_of(key)).hexdigest():
        raise IntegrityError(
            f"was signed with another key than that of {public_key}",
            where=path,
            todo="serve with the public key of who trained it, or do not serve it",
        )
    signed = b"DSSEv1 %d %b %d %b" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)
    try:
        key.verify(signature, signed, ec.ECDSA(_HASHES[key.key_size]))
    except InvalidSignature:
        raise IntegrityError("the signature does not match", where=path, todo=_AGAIN) from None
    return _parse(payload, path)


def _parse(payload: bytes, path: Path) -> _Statement:
    """The statement of a payload whose signature has been checked."""
    try:
        statement = msgspec.json.decode(payload, type=_Statement)
        resources = statement.predicate.resources
        digest = hashlib.sha256(b"".join(bytes.fromhex(each.digest) for each in resources)).hexdigest()
    except (msgspec.DecodeError, ValueError) as error:
        raise BundleError(f"signs something else than the files of a folder: {error}", where=path) from None
    names = [each.name for each in resources]
    if digest != statement.subject[0].digest.sha256 or len(set(names)) < len(names) or SIGNATURE in names:
        raise BundleError("signs a list of files that contradicts itself", where=path)
    return statement


def _check_names(folder: Path, listed: Mapping[str, str]) -> None:
    """See to it that the folder holds each listed file, the signature, and nothing else, be it hidden or empty."""
    expected = {*listed, SIGNATURE}
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}
    except OSError as error:
        raise BundleError(f"cannot be read: {error.strerror}", where=folder) from None
    for name in sorted(found.keys() - expected):
        raise IntegrityError(
            "is not among what was signed",
            where=folder / name,
            todo="find out who put it there, and remove it",
        )
    for name in sorted(expected - found.keys()):
        raise BundleError("was signed, and is missing", where=folder / name, todo=_AGAIN)
    for name in sorted(expected):
        if not found[name]:
            raise IntegrityError(_NO_FILE, where=folder / name, todo=_AGAIN)


def _decode(text: str) -> bytes:
    """Base64 in its one canonical form, so that no bit of it is without a meaning."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data) != text.encode():
        raise ValueError("not canonical base64")
    return data


def _read(path: Path, most: int) -> bytes:
    """A file's content, up to `most` bytes; what is in its place is neither followed nor waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise IntegrityError(_NO_FILE, where=path, todo=_AGAIN)
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(min(found.st_size, most) + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket
            raise IntegrityError(_NO_FILE, where=path, todo=_AGAIN) from None
        raise BundleError(f"cannot be read: {error.strerror}", where=path, todo=_AGAIN) from None
    if len(data) > most:
        raise BundleError("is larger than anything that is read here", where=path, todo=_AGAIN)
    return data
