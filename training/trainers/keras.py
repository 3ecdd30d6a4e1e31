"""Compiled Keras models on TensorFlow, exported by Keras through tf2onnx."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlops.schema import Task
from training.examples import Examples
from training.onnx_graph import serving_graph
from training.trainers import Fitted, Floats, Place, epochs_of

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # reorders sums, and says so on stderr
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # else TensorFlow looks for a GPU, and complains

import keras
import tensorflow as tf

__all__ = ["fit"]

_PREDICT_BATCH = 8192


class _Fitted:
    def __init__(self, model: Any) -> None:
        self._model = model

    def predict(self, features: Floats) -> Floats:
        scores: Floats = self._model.predict(features, batch_size=_PREDICT_BATCH, verbose=0)
        return scores.astype(np.float32).reshape(-1)

    def export(self) -> bytes:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # tf2onnx with NumPy 2
            path = Path(folder) / "model.onnx"
            self._model.export(path, format="onnx", verbose=False)
            return serving_graph(path.read_bytes())


def fit(
    builder: Callable[..., Any],
    params: Mapping[str, Any],
    examples: Examples,
    *,
    task: Task,
    seed: int,
    place: Place,
) -> Fitted:
    """Fit a compiled functional model that gives probabilities, or quantities of standardised labels.

    It is the same on one kind of CPU for one seed.

    Layers with a method `adapt`, such as Normalization, are adapted to what reaches them from the training features.
    """
    epochs, params = epochs_of(params)
    features, labels = examples.arrays()
    tf.get_logger().setLevel("ERROR")  # it warns of retracing where each call brings a new model
    _one_thread()
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    model = builder(seed=seed, n_features=examples.n_features, **params)
    for layer in model.layers:
        if hasattr(layer, "adapt"):
            reaching = keras.Model(model.inputs, layer.input)
            layer.adapt(reaching.predict(features, batch_size=_PREDICT_BATCH, verbose=0))
        if isinstance(layer, keras.layers.Normalization):
            # Left as eager tensors, tf2onnx would make inputs of the graph out of them.
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)
    model.optimizer.learning_rate = epochs.learning_rate
    mean, scale = (0.0, 1.0) if task == "classification" else (float(labels.mean()), float(labels.std()))
    history = model.fit(
        features,
        ((labels - mean) / scale).astype(np.float32),
        batch_size=epochs.batch_size,
        epochs=epochs.epochs,
        verbose=0,
    )
    for epoch, loss in enumerate(history.history["loss"]):
        place.log("train_loss", float(loss), epoch)
    if task == "classification":
        return _Fitted(model)
    return _Fitted(keras.Model(model.inputs, keras.layers.Rescaling(scale, mean)(model.outputs[0])))


def _one_thread() -> None:
    """Candidates are trained side by side, a process each; more threads would only fight over the cores."""
    if tf.config.threading.get_intra_op_parallelism_threads() != 1:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
