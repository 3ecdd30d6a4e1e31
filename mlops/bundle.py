"""The bundle: a signed folder, and the only seam between training and serving.

    model.onnx       the whole model, preprocessing included: `features` float32 [n, f] → `score` float32 [n]
    features.json    FeatureSet: the definitions, in the order of the model's input
    schema.json      Schema: the events, the label, and which id columns are whole numbers
    policy.json      Decisions: thresholds and what they were chosen by; null where nothing is decided
    golden.json      Golden: rows with the scores that the model must give
    reference.json   a few typical rows: what explanations compare a row with
    card.md          the model card
    evaluation.json  what the evaluation found, whole
    evaluation.html  the same with plots, for people
    manifest.json    Manifest: name, candidate, framework, run, metrics
    model.sig        the signature over the SHA-256 of each other file: see `mlops.signature`

Nothing is parsed before the signature and the digest of every file have been checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from mlops.errors import BundleError
from mlops.features import FeatureSet
from mlops.schema import EventSchema, Label, Task, task_of
from mlops.signature import SIGNATURE, verify
from mlops.signing import PUBLIC_KEY
from mlops.storage import publish_dir

__all__ = ["FILES", "Bundle", "Decisions", "Golden", "Manifest", "Schema", "open_bundle", "write_bundle"]

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
    """`manifest.json`. `trained_until` is the last day of training, ISO date; empty where events have no time."""

    name: str
    candidate: str
    framework: str
    created_at: str
    run_id: str
    trained_until: str = ""
    metrics: dict[str, float] = {}


class Bundle(_Part, frozen=True, kw_only=True):
    """A bundle whose signature and digests have been checked, parsed. `digest` is that over all its files.

    The evaluation lies in the folder, `evaluation.json` and `evaluation.html`: checked like the rest, but not held.
    """

    path: Path
    digest: str
    manifest: Manifest
    model: bytes
    features: FeatureSet
    schema: Schema
    decisions: Decisions | None
    golden: Golden
    reference: list[list[float]]
    card: str


_NOTHING = b"null"
_SIGNED = (
    "model.onnx",
    "features.json",
    "schema.json",
    "policy.json",
    "golden.json",
    "reference.json",
    "card.md",
    "evaluation.json",
    "evaluation.html",
    "manifest.json",
)
FILES = (*_SIGNED, SIGNATURE)
"""Every file of a bundle."""


def write_bundle(
    target: Path,
    *,
    keys: Path,
    model: bytes,
    features: FeatureSet,
    schema: Schema,
    decisions: Decisions | None,
    golden: Golden,
    reference: Sequence[Sequence[float]],
    card: str,
    evaluation: bytes,
    report: str,
    manifest: Mapping[str, object],
) -> str:
    """Write and sign a bundle, atomically; return its digest.

    Args:
        target: the folder to write; what it held is replaced.
        keys: the folder with the key pair.
        reference: typical rows [k, f], see `mlops.reasons.choose_reference`.
        evaluation: `evaluation.json`.
        report: `evaluation.html`.
        manifest: the fields of `Manifest`.

    Raises:
        ConfigError: a key is missing, or of a kind that signs no bundles.
        SetupError: the device is full.
    """
    from mlops.signer import sign  # heavy

    checked = msgspec.convert(manifest, Manifest)
    contents = {
        "model.onnx": model,
        "features.json": msgspec.json.encode(features),
        "schema.json": msgspec.json.encode(schema),
        "policy.json": msgspec.json.encode(decisions),
        "golden.json": msgspec.json.encode(golden),
        "reference.json": msgspec.json.encode(reference),
        "card.md": card.encode(),
        "evaluation.json": evaluation,
        "evaluation.html": report.encode(),
        "manifest.json": msgspec.json.encode(checked),
    }
    with publish_dir(target) as folder:
        named = folder / "signing" / checked.name  # the signature calls the model as its folder is called
        named.mkdir(parents=True)
        for name, data in contents.items():
            (named / name).write_bytes(data)
        sign(named, keys)
        for name in FILES:
            (named / name).rename(folder / name)
        named.rmdir()
        named.parent.rmdir()
        return verify(folder, keys / PUBLIC_KEY).digest


def open_bundle(path: Path, *, public_key: Path) -> Bundle:
    """Read a bundle, checking signature and digests before anything is parsed.

    Raises:
        ConfigError: the public key cannot be read, or is of another kind.
        BundleError: a file is missing or does not hold what it should.
        IntegrityError: the signature or a digest is wrong, or there is a file that was not signed.
    """
    signed = verify(path, public_key)
    contents = signed.files
    if set(contents) != set(_SIGNED):
        raise BundleError(f"holds {sorted(contents)}, not {sorted(_SIGNED)}", where=path)
    return Bundle(
        path=path,
        digest=signed.digest,
        manifest=_parse(path / "manifest.json", contents["manifest.json"], Manifest),
        model=contents["model.onnx"],
        features=_parse(path / "features.json", contents["features.json"], FeatureSet),
        schema=_parse(path / "schema.json", contents["schema.json"], Schema),
        decisions=None
        if contents["policy.json"] == _NOTHING
        else _parse(path / "policy.json", contents["policy.json"], Decisions),
        golden=_parse(path / "golden.json", contents["golden.json"], Golden),
        reference=_parse(path / "reference.json", contents["reference.json"], list[list[float]]),
        card=contents["card.md"].decode(),
    )


def _parse(path: Path, data: bytes, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(str(error), where=path) from None
