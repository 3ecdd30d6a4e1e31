"""What a model was made from can be told from its run."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from mlops.features import FeatureSet, Value
from training.lineage import lineage_of

ROOT = Path(__file__).parents[2]
FEATURES = FeatureSet((Value(column="load"),))


def test_code_and_packages_are_those_of_the_checkout() -> None:
    lineage = lineage_of(FEATURES, "ab" * 16, 7)
    ran = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert lineage.commit.removesuffix("-dirty") == ran.stdout.strip()
    locks = [(ROOT / "infra" / "lock" / name).read_bytes() for name in ("all.txt", "torch.txt")]
    assert lineage.lock_digest == hashlib.sha256(b"".join(locks)).hexdigest()


def test_other_definitions_have_another_digest() -> None:
    other = FeatureSet((Value(column="load", fallback=0.0),))
    digests = {lineage_of(features, "", 0).features_digest for features in (FEATURES, other, FEATURES)}
    assert len(digests) == 2


def test_the_run_is_tagged_with_all_of_it() -> None:
    lineage = lineage_of(FEATURES, "ab" * 16, 7)
    assert lineage.tags() == {
        "mlflow.source.git.commit": lineage.commit,
        "lock_digest": lineage.lock_digest,
        "data_fingerprint": "ab" * 16,
        "features_digest": lineage.features_digest,
        "seed": "7",
    }
