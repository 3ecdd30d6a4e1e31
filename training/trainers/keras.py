"""Compiled Keras models on TensorFlow, exported by Keras through tf2onnx."""

from __future__ import annotations

import os
import re
import tempfile
import warnings
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.schema import Task
from training.examples import Examples
from training.onnx_graph import serving_graph
from training.trainers import Fitted, Floats, Place, epochs_of
from training.trainers.loop import about, label_scale, train

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # reorders sums, and says so on stderr

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


class _Network:
    """See `training.trainers.loop.Network`. Dropout draws from variables of the model, so its state is all there is."""

    def __init__(self, model: Any, n_features: int, scale: tuple[float, float]) -> None:
        self._model, self._scale = model, scale
        model.optimizer.build(model.trainable_variables)
        self._variables = [*model.variables, *model.optimizer.variables]
        rows = tf.TensorSpec([None, n_features], tf.float32), tf.TensorSpec([None, 1], tf.float32)
        self._learn = tf.function(self._learn_eagerly, input_signature=rows)
        self._judge = tf.function(self._judge_eagerly, input_signature=rows)

    def step(self, features: Floats, labels: NDArray[Any], *, rows: int) -> Any:
        return self._learn(features, self._scaled(labels))

    def loss(self, features: Floats, labels: NDArray[Any]) -> float:
        parts = [slice(i, i + _PREDICT_BATCH) for i in range(0, len(labels), _PREDICT_BATCH)]
        return sum(float(self._judge(features[part], self._scaled(labels[part]))) for part in parts)

    def state(self) -> bytes:
        buffer = BytesIO()
        np.savez(buffer, *(np.asarray(variable) for variable in self._variables))
        return buffer.getvalue()

    def restore(self, state: bytes) -> None:
        with np.load(BytesIO(state), allow_pickle=False) as held:
            for place, variable in enumerate(self._variables):
                variable.assign(held[f"arr_{place}"])

    def _scaled(self, labels: NDArray[Any]) -> Floats:
        mean, scale = self._scale
        scaled: Floats = ((labels - mean) / scale).astype(np.float32)[:, None]
        return scaled

    def _learn_eagerly(self, x: Any, y: Any) -> Any:
        model = self._model
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x=x, y=y, y_pred=model(x, training=True), training=True)
        variables = model.trainable_variables
        model.optimizer.apply(tape.gradient(loss, variables), variables)
        return loss * tf.cast(tf.shape(x)[0], tf.float32)

    def _judge_eagerly(self, x: Any, y: Any) -> Any:
        loss = self._model.compute_loss(x=x, y=y, y_pred=self._model(x, training=False), training=False)
        return loss * tf.cast(tf.shape(x)[0], tf.float32)


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

    It is the same on one kind of CPU for one seed, however often it was killed and begun again. Of what the model was
    compiled with, the loss and the optimizer count.

    Layers with a method `adapt`, such as Normalization, are adapted to what reaches them from the training features.
    """
    epochs, own = epochs_of(params)
    tf.get_logger().setLevel("ERROR")  # it warns of retracing where each call brings a new model
    _one_thread()
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    model = builder(seed=seed, n_features=examples.n_features, **own)
    for layer in model.layers:
        if hasattr(layer, "adapt"):
            reaching = keras.Model(model.inputs, layer.input)
            layer.adapt(
                reaching.predict(features, batch_size=_PREDICT_BATCH, verbose=0)
                for features, _ in examples.blocks()
            )
        if isinstance(layer, keras.layers.Normalization):
            # Left as eager tensors, tf2onnx would make inputs of the graph out of them.
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)
    model.optimizer.learning_rate = epochs.learning_rate
    scale = label_scale(examples.labels, task)
    network = _Network(model, examples.n_features, scale)
    structure = f"{_structure(model)} {epochs} {keras.__version__} {tf.__version__}"
    of = about(builder, own, examples, task, seed, structure) if place.checkpoints else ""
    train(network, examples, epochs, seed=seed, place=place, about=of)
    if task == "classification":
        return _Fitted(model)
    mean, deviation = scale
    return _Fitted(keras.Model(model.inputs, keras.layers.Rescaling(deviation, mean)(model.outputs[0])))


def _one_thread() -> None:
    """Candidates are trained side by side, a process each; more threads would only fight over the cores."""
    if tf.config.threading.get_intra_op_parallelism_threads() != 1:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def _structure(model: keras.Model) -> str:
    """The model as JSON, its layers named by their order, and not by how many this process has made before."""
    places: dict[str, int] = {}
    return re.sub(
        r'"([a-z][a-z0-9_]*?)(?:_\d+)?"',
        lambda name: f'"{name[1]}#{places.setdefault(name[0], len(places))}"',
        model.to_json(),
    )
