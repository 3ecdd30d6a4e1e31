"""Keras models: killed and begun again; and what no network does."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.killed import examples, fitted
from training.examples import ArrayExamples, Batch


def test_a_fit_killed_in_mid_epoch_goes_on_to_the_same_scores(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    killed = [sys.executable, "-m", "tests.training.killed", "tensorflow", str(tmp_path), "40"]
    ended = subprocess.run(killed, timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL
    with caplog.at_level(logging.INFO):
        resumed, resumed_log = fitted("tensorflow", tmp_path)
    assert "going on in epoch 2 after 10 steps" in caplog.text
    whole, whole_log = fitted("tensorflow", None)
    assert resumed_log == whole_log
    rows = examples().arrays()[0]
    assert (resumed.predict(rows) == whole.predict(rows)).all()


class _OnlyStreamed(ArrayExamples):
    def arrays(self) -> Batch:
        raise AssertionError("all of it at once")


@pytest.mark.parametrize("framework", ["tensorflow", "pytorch"])
def test_no_network_asks_for_all_features_at_once(framework: str) -> None:
    features, labels = examples().arrays()
    model, _ = fitted(framework, None, _OnlyStreamed(features, labels))
    scores = model.predict(features)
    assert scores[labels == 1].mean() > scores[labels == 0].mean()
