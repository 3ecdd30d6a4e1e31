"""PyTorch modules: killed and begun again, on CPU or GPU, and a GRU over a card's last payments."""

from __future__ import annotations

import io
import logging
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from mlops.contract import load_dotted
from mlops.model import Model
from tests.training.killed import examples, fitted
from training.examples import ArrayExamples
from training.trainers import Place, torch_team
from training.trainers.loop import CHECKPOINT
from training.trainers.torch import fit

SILENT = Place(log=lambda *_: None)


def test_a_fit_killed_in_mid_epoch_goes_on_to_the_same_bytes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    killed = [sys.executable, "-m", "tests.training.killed", "pytorch", str(tmp_path), "40"]
    ended = subprocess.run(killed, timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL
    with caplog.at_level(logging.INFO):
        resumed, resumed_log = fitted("pytorch", tmp_path)
    assert "going on in epoch 2 after 10 steps" in caplog.text
    whole, whole_log = fitted("pytorch", None)
    assert resumed_log == whole_log
    assert resumed.export() == whole.export()


class _Command:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.target,)


def test_a_checkpoint_with_a_command_in_it_is_not_obeyed(tmp_path: Path) -> None:
    fitted("pytorch", tmp_path)
    checkpoint = msgspec.msgpack.decode((tmp_path / CHECKPOINT).read_bytes())
    command = io.BytesIO()
    torch.save({"module": _Command(tmp_path / "obeyed")}, command)
    checkpoint["state"]["network"] = command.getvalue()
    (tmp_path / CHECKPOINT).write_bytes(msgspec.msgpack.encode(checkpoint))
    with pytest.raises(pickle.UnpicklingError):
        fitted("pytorch", tmp_path)
    assert not (tmp_path / "obeyed").exists()


def test_the_graph_of_a_sequence_model_says_what_the_model_says_for_any_number_of_rows() -> None:
    rng = np.random.default_rng(0)
    features = np.exp(rng.normal(size=(600, 5 + 2 * 8))).astype(np.float32)
    places = np.arange(16) % 8
    features[:, 5:][places[None, :] >= rng.integers(1, 9, 600)[:, None]] = -1  # fewer payments than 8
    # Fraud is an amount above that of the payment before.
    labels = (features[:, 5] > 2 * features[:, 6]).astype(np.int8)
    model = fit(
        load_dotted("usecases.fraud.models:gru_torch"),
        {"epochs": 8, "learning_rate": 1e-2, "recurrent": 8, "hidden": 16, "dropout": 0.0},
        ArrayExamples(features, labels),
        task="classification",
        seed=0,
        place=SILENT,
    )
    expected, graph = model.predict(features), Model(model.export())
    assert np.abs(graph(features) - expected).max() <= 1e-5
    assert np.abs(graph(features[:1]) - expected[:1]).max() <= 1e-5
    assert expected[labels == 1].mean() > 3 * expected[labels == 0].mean()


def test_what_stands_in_for_a_missing_payment_changes_nothing() -> None:
    model = load_dotted("usecases.fraud.models:gru_torch")(seed=0, n_features=18).eval()
    rows = torch.from_numpy(np.exp(np.random.default_rng(0).normal(size=(20, 18))).astype(np.float32))
    rows[:, [5, 6, 7, 8, 9, 13, 14, 15, 16, 17]] = -1.0
    others = rows.clone()
    others[rows < 0] = -7.0
    assert (model(rows) == model(others)).all()


def test_the_standardisation_is_that_of_all_rows_however_they_come() -> None:
    rows = torch.from_numpy(examples().arrays()[0])
    layer = load_dotted("usecases.fraud.models:mlp_torch")(seed=0, n_features=6)[0]
    layer.adapt(rows.split(7))
    logs = torch.log1p(rows.double())
    assert torch.allclose(layer.mean.double(), logs.mean(dim=0), rtol=1e-6)
    assert torch.allclose(layer.scale.double(), logs.std(dim=0, correction=0), rtol=1e-6)


def test_the_device_is_a_gpu_where_there_is_one() -> None:
    assert torch_team.device_here().type == ("cuda" if torch.cuda.is_available() else "cpu")
