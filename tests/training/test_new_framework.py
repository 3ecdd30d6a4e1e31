"""What the page on adding a framework shows is added, and trained to a signed bundle."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from mlops.bundle import open_bundle
from mlops.contract import Candidate
from mlops.model import open_model
from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY
from tests.training import example
from training.train import train_candidate

PAGE = Path(__file__).parents[2] / "docs" / "new-framework.md"


@pytest.fixture
def candidate(tmp_path: Path) -> Iterator[Candidate]:
    """The page's, whose module can be imported."""
    module, line = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "naive_bayes.py").write_text(module)
    sys.path.insert(0, str(tmp_path))
    yield eval(line, {"Candidate": Candidate})
    sys.path.remove(str(tmp_path))
    del sys.modules["naive_bayes"]


def test_one_module_and_one_line_add_a_framework(
    candidate: Candidate, settings: Settings, features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = msgspec.structs.replace(example.USE_CASE, candidates=(*example.USE_CASE.candidates, candidate))
    monkeypatch.setattr(example, "USE_CASE", more)
    result = train_candidate(example.spec(settings.home, features, "bayes"))
    assert result.framework == "naive_bayes:fit"
    assert result.figures.auc.value > 0.9
    assert 0 <= result.onnx_max_abs_diff <= example.USE_CASE.policy.gate.parity_tolerance
    bundle = open_bundle(result.bundle, public_key=settings.keys / PUBLIC_KEY)
    model = open_model(bundle)
    golden = np.array(bundle.golden.features, np.float32)
    assert model(golden) == pytest.approx(np.array(bundle.golden.scores), abs=1e-5)
    scores = pq.read_table(result.evaluation)["score"].to_numpy()
    assert 0 < scores.min() < scores.max() < 1
