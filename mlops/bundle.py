"""The bundle: a signed folder, and the only seam between training and serving.

    model.onnx       the whole model, preprocessing included: `features` float32 [n, f] → `score` float32 [n]
    features.json    FeatureSet: the definitions, in the order of the model's input
    schema.json      Schema: the events, the label, and which id columns are whole numbers
    policy.json      Decisions: thresholds and what they were chosen by; null where nothing is decided
    golden.json      Golden: rows with the scores that the model must give
    card.md          the model card
    manifest.json    Manifest: name, framework, and the SHA-256 of each other file
    manifest.sig     Ed25519 signature over manifest.json

Nothing is parsed before the signature over the manifest and the digest of the file have been checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from mlops.errors import BundleError, IntegrityError
from mlops.features import FeatureSet
from mlops.schema import EventSchema, Label, Task, task_of
from mlops.signing import sign, verify
from mlops.storage import publish_dir

__all__ = ["Bundle", "Decisions", "Golden", "Manifest", "Schema", "open_bundle", "write_bundle"]

T = TypeVar("T")


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Schema(_Part, frozen=True, kw_only=True):
    """`schema.json`. `whole_number_ids` names the id columns whose values compare as numbers."""

    events: EventSchema
    label: Label
    whole_number_ids: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        return task_of(self.events, self.label)


class Decisions(_Part, frozen=True, kw_only=True):
    """`policy.json`: a score from `decline_at` on is declined, from `review_at` on reviewed, else approved."""

    review_at: float
    decline_at: float
    chosen_by: str = ""

    def decide(self, score: float) -> str:
        """`approve`, `review` or `decline`."""
        if score >= self.decline_at:
            return "decline"
        return "review" if score >= self.review_at else "approve"


class Golden(_Part, frozen=True, kw_only=True):
    """`golden.json`: inputs [n, f], the scores [n] expected of them, and how far off a score may be."""

    features: list[list[float]]
    scores: list[float]
    tolerance: float = 1e-5


class Manifest(_Part, frozen=True, kw_only=True):
    """`manifest.json`."""

    name: str
    candidate: str
    framework: str
    created_at: str
    run_id: str
    files: dict[str, str]
    metrics: dict[str, float] = {}


class Bundle(_Part, frozen=True, kw_only=True):
    """A bundle whose signature and digests have been checked, parsed. `digest` is that of its manifest."""

    path: Path
    digest: str
    manifest: Manifest
    model: bytes
    features: FeatureSet
    schema: Schema
    decisions: Decisions | None
    golden: Golden
    card: str


_NOTHING = b"null"
_FILES = ("model.onnx", "features.json", "schema.json", "policy.json", "golden.json", "card.md")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write_bundle(
    target: Path,
    *,
    keys: Path,
    model: bytes,
    features: FeatureSet,
    schema: Schema,
    decisions: Decisions | None,
    golden: Golden,
    card: str,
    manifest: Mapping[str, object],
) -> str:
    """Write and sign a bundle, atomically; return the digest of its manifest.

    Args:
        target: the folder to write; what it held is replaced.
        keys: the folder with the private key.
        manifest: the fields of `Manifest` but `files`.
    """
    contents = {
        "model.onnx": model,
        "features.json": msgspec.json.encode(features),
        "schema.json": msgspec.json.encode(schema),
        "policy.json": msgspec.json.encode(decisions),
        "golden.json": msgspec.json.encode(golden),
        "card.md": card.encode(),
    }
    files = {name: _sha256(data) for name, data in contents.items()}
    signed = msgspec.json.encode(msgspec.convert({**manifest, "files": files}, Manifest))
    with publish_dir(target) as folder:
        for name, data in contents.items():
            (folder / name).write_bytes(data)
        (folder / "manifest.json").write_bytes(signed)
        (folder / "manifest.sig").write_bytes(sign(keys, signed))
    return _sha256(signed)


def open_bundle(path: Path, *, public_key: Path) -> Bundle:
    """Read a bundle, checking signature and digests before anything is parsed.

    Raises:
        BundleError: a file is missing or does not hold what it should.
        IntegrityError: the signature or a digest is wrong.
    """
    manifest_bytes = _read(path / "manifest.json")
    verify(public_key, manifest_bytes, _read(path / "manifest.sig"))
    manifest = _parse(path / "manifest.json", manifest_bytes, Manifest)
    if set(manifest.files) != set(_FILES):
        raise BundleError(
            f"lists {sorted(manifest.files)}, not {sorted(_FILES)}", where=path / "manifest.json"
        )
    contents: dict[str, bytes] = {}
    for name, digest in manifest.files.items():
        contents[name] = _read(path / name)
        if _sha256(contents[name]) != digest:
            raise IntegrityError("is not the file that was signed", where=path / name)
    return Bundle(
        path=path,
        digest=_sha256(manifest_bytes),
        manifest=manifest,
        model=contents["model.onnx"],
        features=_parse(path / "features.json", contents["features.json"], FeatureSet),
        schema=_parse(path / "schema.json", contents["schema.json"], Schema),
        decisions=None
        if contents["policy.json"] == _NOTHING
        else _parse(path / "policy.json", contents["policy.json"], Decisions),
        golden=_parse(path / "golden.json", contents["golden.json"], Golden),
        card=contents["card.md"].decode(),
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot be read: {error.strerror}", where=path) from None


def _parse(path: Path, data: bytes, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=type_)
    except msgspec.DecodeError as error:
        raise BundleError(str(error), where=path) from None
