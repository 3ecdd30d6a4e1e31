"""What a model was made from: the code, the packages, the data, the definitions and the seed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import msgspec

from mlops.contract import Candidate, load_dotted
from mlops.features import FeatureSet

__all__ = ["Lineage", "code_digest", "lineage_of"]

_ROOT = Path(__file__).parent.parent
_PLATFORM = ("mlops", "training")
_PROJECT = "mlops_reference_platform-"


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """Two models with one lineage, candidate, effort and parameters are the same, on one kind of CPU.

    Fields:
        commit: of the checkout that this code lies in, `-dirty` after it if files differ from it or are new; empty
            outside of one.
        packages_digest: SHA-256 of the installed packages' names and versions.
        data_fingerprint: of the feature table.
        features_digest: SHA-256 of the features' definitions.
        seed: of the fit and of all that is drawn.
    """

    commit: str
    packages_digest: str
    data_fingerprint: str
    features_digest: str
    seed: int

    def tags(self) -> dict[str, str]:
        """What the run of MLflow is tagged with."""
        tags = {name: str(value) for name, value in msgspec.structs.asdict(self).items() if name != "commit"}
        return tags | ({"mlflow.source.git.commit": self.commit} if self.commit else {})


def lineage_of(features: FeatureSet, fingerprint: str, seed: int) -> Lineage:
    """The lineage of what is trained now on a table with this fingerprint."""
    return Lineage(
        commit=_commit(),
        packages_digest=_packages_digest(),
        data_fingerprint=fingerprint,
        features_digest=hashlib.sha256(msgspec.json.encode(features)).hexdigest(),
        seed=seed,
    )


def code_digest(use_case: str, candidate: Candidate) -> str:
    """SHA-256 of all code that a fit follows from: what was half done by other code is not to be gone on with.

    That is the platform's, that of the packages (or modules) of the use case, of the candidate's builder and of its
    trainer, and the versions of all packages that are installed. Formatting and comments count.

    Args:
        use_case: its package.

    Raises:
        ConfigError: no such use case, builder or trainer.
    """
    named = (f"{use_case}:USE_CASE", candidate.builder, candidate.framework)
    places = [_ROOT / name for name in _PLATFORM] + [_place_of(name) for name in named if ":" in name]
    digest = hashlib.sha256(_packages_digest().encode())
    for place in places:
        for file in [place] if place.is_file() else sorted(place.rglob("*.py")):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{file.relative_to(place)} {content}\n".encode())
    return digest.hexdigest()


def _place_of(dotted: str) -> Path:
    """The folder of the package that this lies in; the file of a module that lies in none."""
    load_dotted(dotted)
    module = sys.modules[dotted.partition(":")[0]]
    assert module.__file__ is not None, dotted
    file = Path(module.__file__)
    return file.parent if module.__package__ else file


def _commit() -> str:
    commit = _git("rev-parse", "HEAD")
    return f"{commit}-dirty" if commit and _git("status", "--porcelain") else commit


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _packages_digest() -> str:
    """Of what is installed, so also where nothing of the checkout is: in an image, from a wheel.

    It is told by the folders' names, which hold name and version ("recording installed projects" of PyPA's
    specifications): reading all their metadata takes far longer. The project's own
    version does not count, as its code does.
    """
    found = {
        info.name
        for place in map(Path, sys.path)
        if place.is_dir()
        for info in place.iterdir()
        if info.suffix in (".dist-info", ".egg-info") and not info.name.startswith(_PROJECT)
    }
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()
