"""A bundle is what was signed, or it is not read."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from mlops.bundle import Bundle, Decisions, Golden, Schema, open_bundle, write_bundle
from mlops.errors import BundleError, ConfigError, IntegrityError
from mlops.features import Count, FeatureSet, Rolling, Value
from mlops.schema import Column, EventSchema, Label
from mlops.signing import PRIVATE_KEY, PUBLIC_KEY, ensure_keys, sign, verify

FEATURES = FeatureSet((Value(column="amount"), Rolling(key="card", agg=Count(), windows=("1d", "7d"))))
SCHEMA = Schema(
    events=EventSchema(
        id="id",
        time="at",
        columns=(
            Column(name="id", type="id"),
            Column(name="at", type="timestamp"),
            Column(name="card", type="id"),
            Column(name="amount", type="decimal", decimals=2),
        ),
    ),
    label=Label(column="is_fraud", delay_days=7),
    whole_number_ids=("id",),
)
DECISIONS = Decisions(review_at=0.2, decline_at=0.7, chosen_by="least cost")
GOLDEN = Golden(features=[[1.0, 2.0, 3.0]], scores=[0.25])


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    ensure_keys(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def bundle(tmp_path: Path, keys: Path) -> Path:
    write(tmp_path / "bundle", keys)
    return tmp_path / "bundle"


def write(target: Path, keys: Path, model: bytes = b"a graph") -> str:
    return write_bundle(
        target,
        keys=keys,
        model=model,
        features=FEATURES,
        schema=SCHEMA,
        decisions=DECISIONS,
        golden=GOLDEN,
        card="# A card\n",
        manifest={
            "name": "fraud",
            "candidate": "trees",
            "framework": "scikit-learn",
            "created_at": "2018-08-01T00:00:00+00:00",
            "run_id": "r1",
            "metrics": {"ap": 0.6},
        },
    )


def read(bundle: Path, keys: Path) -> Bundle:
    return open_bundle(bundle, public_key=keys / PUBLIC_KEY)


def test_a_bundle_is_read_as_it_was_written(tmp_path: Path, keys: Path) -> None:
    digest = write(tmp_path / "bundle", keys)
    found = read(tmp_path / "bundle", keys)
    assert found.digest == digest
    assert found.model == b"a graph"
    assert (found.features, found.schema, found.decisions, found.golden) == (
        FEATURES,
        SCHEMA,
        DECISIONS,
        GOLDEN,
    )
    assert found.card == "# A card\n"
    assert (found.manifest.candidate, found.manifest.metrics) == ("trees", {"ap": 0.6})


@pytest.mark.parametrize(
    "name", ["model.onnx", "features.json", "schema.json", "policy.json", "golden.json", "card.md"]
)
def test_a_file_that_was_altered_is_refused(bundle: Path, keys: Path, name: str) -> None:
    path = bundle / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(IntegrityError, match=name):
        read(bundle, keys)


def test_an_altered_manifest_is_refused_before_it_is_parsed(bundle: Path, keys: Path) -> None:
    (bundle / "manifest.json").write_bytes(b"{ not even JSON")
    with pytest.raises(IntegrityError, match="signature"):
        read(bundle, keys)


def test_a_file_swapped_together_with_its_digest_is_refused(bundle: Path, keys: Path, tmp_path: Path) -> None:
    ensure_keys(tmp_path / "other")
    write(tmp_path / "forged", tmp_path / "other", model=b"another graph")
    for name in ("model.onnx", "manifest.json", "manifest.sig"):
        (bundle / name).write_bytes((tmp_path / "forged" / name).read_bytes())
    with pytest.raises(IntegrityError, match="signature"):
        read(bundle, keys)


def test_a_missing_file_is_named(bundle: Path, keys: Path) -> None:
    (bundle / "golden.json").unlink()
    with pytest.raises(BundleError, match=r"golden\.json"):
        read(bundle, keys)


def test_a_signed_manifest_that_leaves_out_a_file_is_refused(bundle: Path, keys: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    del manifest["files"]["policy.json"]
    forged = json.dumps(manifest).encode()
    (bundle / "manifest.json").write_bytes(forged)
    (bundle / "manifest.sig").write_bytes(sign(keys, forged))
    with pytest.raises(BundleError, match="lists"):
        read(bundle, keys)


def test_writing_again_replaces_the_whole_bundle(bundle: Path, keys: Path) -> None:
    before = read(bundle, keys).digest
    (bundle / "stray").write_bytes(b"")
    assert write(bundle, keys, model=b"a newer graph") != before
    assert read(bundle, keys).model == b"a newer graph"
    assert not (bundle / "stray").exists()


def test_a_write_that_fails_leaves_the_old_bundle(bundle: Path, keys: Path, tmp_path: Path) -> None:
    before = read(bundle, keys).digest
    with pytest.raises(ConfigError, match="no such key"):
        write(bundle, tmp_path / "no-keys", model=b"unsigned")
    assert read(bundle, keys).digest == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "keys"]


def test_writers_that_make_keys_at_once_end_with_one_pair(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / str(number)
        together = Barrier(6)

        def make(folder: Path = folder, together: Barrier = together) -> None:
            together.wait()
            ensure_keys(folder)

        with ThreadPoolExecutor(6) as pool:
            for done in [pool.submit(make) for _ in range(6)]:
                done.result()
        verify(folder / PUBLIC_KEY, b"message", sign(folder, b"message"))
        assert sorted(path.name for path in folder.iterdir()) == [PRIVATE_KEY, PUBLIC_KEY]
        assert (folder / PRIVATE_KEY).stat().st_mode & 0o777 == 0o600


def test_a_lost_public_key_is_made_from_the_private_one(keys: Path, bundle: Path) -> None:
    (keys / PUBLIC_KEY).unlink()
    ensure_keys(keys)
    assert read(bundle, keys).model == b"a graph"


def test_decisions_include_their_thresholds() -> None:
    scores = (0.1999, 0.2, 0.6999, 0.7, 1.0)
    assert [DECISIONS.decide(s) for s in scores] == ["approve", "review", "review", "decline", "decline"]
