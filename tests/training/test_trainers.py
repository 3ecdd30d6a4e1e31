"""What trainers share: which module a framework has, and whose parameter is whose."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mlops.errors import ConfigError
from training.trainers import Epochs, epochs_of, trainer_for


def test_the_trainer_takes_its_parameters_and_leaves_the_builders() -> None:
    epochs, rest = epochs_of({"epochs": 3, "hidden": 8, "learning_rate": 0.1})
    assert epochs == Epochs(epochs=3, learning_rate=0.1)
    assert rest == {"hidden": 8}


def test_a_parameter_of_the_wrong_type_is_named() -> None:
    with pytest.raises(ConfigError, match=r"params.*epochs"):
        epochs_of({"epochs": "many"})


def test_an_unknown_framework_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="pytorch"):
        trainer_for("jax")


def test_neither_training_nor_the_builders_import_a_framework_before_it_is_needed() -> None:
    code = (
        "import sys, training.trainers, training.dataset, training.gate, usecases.fraud.models; "
        "print(sorted({'torch', 'tensorflow', 'keras', 'sklearn', 'skl2onnx'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert ran.stdout.strip() == "[]"
