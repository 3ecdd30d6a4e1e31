"""What a model was made from can be told from its run."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from mlops.contract import Candidate
from mlops.errors import ConfigError
from mlops.features import FeatureSet, Value
from training import lineage as module
from training.lineage import code_digest, lineage_of

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


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A platform, its lock files, and the packages of a use case and of a builder."""
    files = {
        "training/trainers/loop.py": "EPOCHS = 3",
        "mlops/features.py": "",
        "infra/lock/all.txt": "numpy==1",
        "infra/lock/torch.txt": "torch==1",
        "boilers/__init__.py": "USE_CASE = None",
        "boilers/deep/layers.py": "SIZE = 8",
        "builders_of_boilers/__init__.py": "",
        "builders_of_boilers/nets.py": "def net(): ...",
        "builders_of_boilers/blocks.py": "",
        "lonely_trainer.py": "def fit(): ...",
        "aside.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("boilers", "builders_of_boilers", "builders_of_boilers.nets", "lonely_trainer"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(module, "_ROOT", tmp_path)
    return tmp_path


NET = Candidate(name="net", framework="lonely_trainer:fit", builder="builders_of_boilers.nets:net")


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("training/trainers/loop.py", True),
        ("mlops/features.py", True),
        ("infra/lock/torch.txt", True),
        ("boilers/deep/layers.py", True),
        ("boilers/deep/more.py", True),
        ("builders_of_boilers/blocks.py", True),
        ("lonely_trainer.py", True),
        ("aside.py", False),
        ("boilers/policy.yaml", False),
    ],
)
def test_code_that_a_fit_follows_from_is_told_from_other_code(written: Path, file: str, counts: bool) -> None:
    before = code_digest("boilers", NET)
    assert before == code_digest("boilers", NET)
    with (written / file).open("a") as more:
        more.write("# otherwise")
    assert (code_digest("boilers", NET) != before) is counts


def test_a_builder_that_is_not_there_is_refused(written: Path) -> None:
    missing = msgspec.structs.replace(NET, builder="boilers.nowhere:net")
    with pytest.raises(ConfigError, match="no module 'boilers"):
        code_digest("boilers", missing)
