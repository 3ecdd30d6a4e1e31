"""What a model was made from can be told from its run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
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


def test_the_code_is_that_of_the_checkout() -> None:
    lineage = lineage_of(FEATURES, "ab" * 16, 7)
    ran = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert lineage.commit.removesuffix("-dirty") == ran.stdout.strip()


def test_other_definitions_have_another_digest() -> None:
    other = FeatureSet((Value(column="load", fallback=0.0),))
    digests = {lineage_of(features, "", 0).features_digest for features in (FEATURES, other, FEATURES)}
    assert len(digests) == 2


def test_the_run_is_tagged_with_all_of_it() -> None:
    lineage = lineage_of(FEATURES, "ab" * 16, 7)
    assert lineage.tags() == {
        "mlflow.source.git.commit": lineage.commit,
        "packages_digest": lineage.packages_digest,
        "data_fingerprint": "ab" * 16,
        "features_digest": lineage.features_digest,
        "seed": "7",
    }


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A platform, an installed package, and the packages of a use case and of a builder."""
    files = {
        "training/trainers/loop.py": "EPOCHS = 3",
        "mlops/features.py": "",
        "boilerplates-1.0.dist-info/METADATA": "",
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


@pytest.mark.parametrize(
    ("installed", "counts"),
    [
        ("boilerplates-1.1.dist-info", True),
        ("another-1.0.egg-info", True),
        ("mlops_reference_platform-0.1.0+1764.dist-info", False),  # its code counts by itself
    ],
)
def test_other_packages_are_told_from_those_that_were_there(
    written: Path, installed: str, counts: bool
) -> None:
    before = code_digest("boilers", NET), lineage_of(FEATURES, "", 0).packages_digest
    (written / installed).mkdir()
    after = code_digest("boilers", NET), lineage_of(FEATURES, "", 0).packages_digest
    assert [one != other for one, other in zip(before, after, strict=True)] == [counts, counts]


def test_in_which_order_packages_are_looked_for_does_not_count(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = code_digest("boilers", NET)
    monkeypatch.setattr(sys, "path", [*reversed(sys.path), *sys.path, str(written / "nowhere")])
    assert code_digest("boilers", NET) == before


def test_the_project_is_known_by_the_name_under_which_it_is_installed() -> None:
    name = distribution("mlops-reference-platform").name
    assert f"{name.replace('-', '_')}-" == module._PROJECT
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == name


def test_where_only_the_packages_are_installed_they_count_too(tmp_path: Path) -> None:
    """As in the pipelines' image, or from the wheel: the lock files are not there."""
    for package in ("mlops", "training", "usecases"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "from mlops.contract import load_use_case; from training import lineage; print(lineage.__file__);"
        "use_case = load_use_case('usecases.breast_cancer');"
        "print(lineage.code_digest('usecases.breast_cancer', use_case.candidates[0]));"
        "print(lineage.lineage_of(use_case.features, '', 0).packages_digest)"
    )
    found = []
    for version in ("1.0", "1.1"):
        (tmp_path / f"boilerplates-{version}.dist-info").mkdir()
        ran = subprocess.run(
            [sys.executable, "-P", "-c", code],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        file, *digests = ran.stdout.split()
        assert Path(file) == tmp_path / "training" / "lineage.py"
        found.append(digests)
    assert all(one != other for one, other in zip(*found, strict=True))


def test_a_builder_that_is_not_there_is_refused(written: Path) -> None:
    missing = msgspec.structs.replace(NET, builder="boilers.nowhere:net")
    with pytest.raises(ConfigError, match="no module 'boilers"):
        code_digest("boilers", missing)
