"""Our reader and OpenSSF's library agree: on what either signed, and on what neither takes."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import hashing, signing, verifying

from mlops import signature
from mlops.errors import BundleError, IntegrityError
from mlops.signature import SIGNATURE, verify
from mlops.signer import sign
from mlops.signing import PRIVATE_KEY, PUBLIC_KEY, ensure_keys, load_private_key

CONTENT = {"manifest.json": b'{"name": "fraud"}', "model.onnx": bytes(range(256)), "card.md": b""}
CURVES = [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    ensure_keys(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def folder(tmp_path: Path, keys: Path) -> Path:
    return signed(tmp_path / "fraud", keys)


def signed(folder: Path, keys: Path) -> Path:
    folder.mkdir()
    for name, data in CONTENT.items():
        (folder / name).write_bytes(data)
    sign(folder, keys)
    return folder


def read(folder: Path, keys: Path) -> dict[str, bytes]:
    return dict(verify(folder, keys / PUBLIC_KEY).files)


def library(folder: Path, keys: Path) -> None:
    verifier = verifying.Config().use_elliptic_key_verifier(public_key=keys / PUBLIC_KEY)
    verifier.verify(folder, folder / SIGNATURE)


def library_refuses(folder: Path, keys: Path) -> bool:
    try:
        library(folder, keys)
    except Exception:  # noqa: BLE001 - it has no errors of its own
        return True
    return False


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "model_signing", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_library_and_its_command_take_what_we_write(folder: Path, keys: Path) -> None:
    assert read(folder, keys) == CONTENT
    library(folder, keys)
    ask = ("verify", "key", folder, "--signature", folder / SIGNATURE, "--public_key", keys / PUBLIC_KEY)
    took = command(*ask)
    assert took.returncode == 0, took.stderr
    (folder / "model.onnx").write_bytes(b"another graph")
    assert command(*ask).returncode != 0


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
def test_we_take_what_the_library_signs(tmp_path: Path, keys: Path, curve: ec.EllipticCurve) -> None:
    key, pem = ec.generate_private_key(curve), serialization.Encoding.PEM
    none, pkcs8 = serialization.NoEncryption(), serialization.PrivateFormat.PKCS8
    (keys / PRIVATE_KEY).write_bytes(key.private_bytes(pem, pkcs8, none))
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    (keys / PUBLIC_KEY).write_bytes(key.public_key().public_bytes(pem, public))
    folder = tmp_path / "fraud"
    folder.mkdir()
    for name, data in CONTENT.items():
        (folder / name).write_bytes(data)
    config = signing.Config().use_elliptic_key_signer(private_key=keys / PRIVATE_KEY)  # and as it comes
    config.sign(folder, folder / SIGNATURE)
    assert read(folder, keys) == CONTENT


def test_every_flipped_byte_of_the_signature_is_refused(folder: Path, keys: Path) -> None:
    path = folder / SIGNATURE
    good = path.read_bytes()
    refused = 0
    with path.open(
        "r+b", buffering=0
    ) as file:  # in place: files written anew take some disks milliseconds each
        for at, byte in enumerate(good):
            os.pwrite(file.fileno(), bytes([byte ^ 1 << (at % 8)]), at)
            try:
                read(folder, keys)
            except IntegrityError as error:
                refused += error.where == str(path)
            os.pwrite(file.fileno(), bytes([byte]), at)
    assert refused == len(good) > 1_000
    assert read(folder, keys) == CONTENT


def flip(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)

    spoil.__name__ = f"flip_{name}"
    return spoil


def empty(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"")


def remove(folder: Path) -> None:
    (folder / "card.md").unlink()


def add(folder: Path) -> None:
    (folder / ".hidden").write_text("")


def add_below(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "file").write_text("")


def swap(folder: Path) -> None:
    one, other = folder / "manifest.json", folder / "model.onnx"
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def rename(folder: Path) -> None:
    (folder / "model.onnx").rename(folder / "model2.onnx")


def link(folder: Path) -> None:
    (folder / "model.onnx").rename(folder.parent / "model.onnx")
    (folder / "model.onnx").symlink_to(folder.parent / "model.onnx")


def unsign(folder: Path) -> None:
    (folder / SIGNATURE).unlink()


def sign_nothing(folder: Path) -> None:
    (folder / SIGNATURE).write_text("{}")


def outer(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        bundle = json.loads((folder / SIGNATURE).read_bytes())
        change(bundle)
        (folder / SIGNATURE).write_text(json.dumps(bundle))

    return spoil


SPOILT = {
    "flip_model": flip("model.onnx"),
    "flip_manifest": flip("manifest.json"),
    "flip_signature": flip(SIGNATURE),
    **{
        each.__name__: each
        for each in (empty, remove, add, add_below, swap, rename, link, unsign, sign_nothing)
    },
    "no_signatures": outer(lambda b: b["dsseEnvelope"].update(signatures=[])),
    "other_media_type": outer(lambda b: b.update(mediaType="application/json")),
    "other_payload_type": outer(lambda b: b["dsseEnvelope"].update(payloadType="text/plain")),
    "other_key": outer(lambda b: b["verificationMaterial"]["publicKey"].update(hint="0" * 64)),
    "no_payload": outer(lambda b: b["dsseEnvelope"].update(payload="")),
    "more_fields": outer(lambda b: b.update(certificate="")),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT.keys())
def test_what_the_library_refuses_we_refuse(folder: Path, keys: Path, spoil: Callable[[Path], None]) -> None:
    spoil(folder)
    assert library_refuses(folder, keys)
    with pytest.raises(BundleError) as refused:
        read(folder, keys)
    assert refused.value.where and refused.value.todo


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def listener(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one, contextlib.chdir(path.parent):  # a short path: they have to be
        one.bind(path.name)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", [SIGNATURE, "model.onnx"])
@pytest.mark.parametrize("put", [pipe, endless, listener, Path.mkdir], ids=lambda put: put.__name__)
def test_what_is_no_file_is_neither_waited_for_nor_read(
    folder: Path, keys: Path, name: str, put: Callable[[Path], None]
) -> None:
    (folder / name).unlink()
    put(folder / name)
    with pytest.raises(IntegrityError, match=f"{name}: is not a file but a link, a folder or a device"):
        read(folder, keys)


def test_no_more_is_read_than_a_bundle_may_hold(
    folder: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(map(len, CONTENT.values()))
    monkeypatch.setattr(signature, "_MOST", size)
    assert read(folder, keys) == CONTENT
    monkeypatch.setattr(signature, "_MOST", size - 1)
    with pytest.raises(BundleError, match="is larger than anything that is read here"):
        read(folder, keys)
    monkeypatch.undo()
    with (folder / SIGNATURE).open("ab") as file:  # JSON may end in spaces
        file.write(b" " * 2**20)
    with pytest.raises(BundleError, match=f"{SIGNATURE}: is larger than anything"):
        read(folder, keys)


def test_what_the_library_overlooks_we_refuse(folder: Path, keys: Path) -> None:
    (folder / ".gitignore").write_text("*")
    assert not library_refuses(folder, keys)
    with pytest.raises(IntegrityError, match="not among what was signed"):
        read(folder, keys)


def test_a_list_that_is_ours_but_contradicts_itself_is_refused(folder: Path, keys: Path) -> None:
    def drop(statement: dict[str, Any]) -> None:
        del statement["predicate"]["resources"][0]

    def repeat(statement: dict[str, Any]) -> None:
        statement["predicate"]["resources"].append(statement["predicate"]["resources"][0])

    def other_hash(statement: dict[str, Any]) -> None:
        statement["predicate"]["serialization"]["hash_type"] = "blake2b"

    def other_predicate(statement: dict[str, Any]) -> None:
        statement["predicateType"] = "https://slsa.dev/provenance/v1"

    good = (folder / SIGNATURE).read_text()
    for change in (drop, repeat, other_hash, other_predicate):
        (folder / SIGNATURE).write_text(good)
        resign(folder, keys, change)
        with pytest.raises(BundleError, match=f"{SIGNATURE}: signs "):
            read(folder, keys)
    (folder / SIGNATURE).write_text(good)
    resign(folder, keys, lambda statement: None)
    assert read(folder, keys) == CONTENT


def resign(folder: Path, keys: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Sign a changed statement with the right key, as nobody should."""
    from cryptography.hazmat.primitives import hashes

    bundle = json.loads((folder / SIGNATURE).read_bytes())
    envelope = bundle["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    change(statement)
    payload, kind = json.dumps(statement).encode(), envelope["payloadType"].encode()
    message = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    signature = load_private_key(keys).sign(message, ec.ECDSA(hashes.SHA256()))
    envelope["payload"] = base64.b64encode(payload).decode()
    envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    (folder / SIGNATURE).write_text(json.dumps(bundle))


def test_files_that_were_to_be_ignored_are_not(folder: Path, keys: Path) -> None:
    (folder / "notes.txt").write_text("")
    lax = hashing.Config().set_ignored_paths(paths=[SIGNATURE, "notes.txt"])
    config = signing.Config().use_elliptic_key_signer(private_key=keys / PRIVATE_KEY)
    config.set_hashing_config(lax).sign(folder, folder / SIGNATURE)
    assert not library_refuses(folder, keys)
    with pytest.raises(IntegrityError, match=r"notes\.txt: is not among what was signed"):
        read(folder, keys)
