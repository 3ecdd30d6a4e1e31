"""The loop that fits a network: epochs, when to stop, and checkpoints to go on from after a kill.

It knows no framework. What happens next depends on the state and on nothing else, above all not on how often the
fit was killed: batches follow from seed and epoch, and the network's state holds all that its steps depend on.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops.schema import Task
from mlops.storage import replace_file
from training.examples import Examples
from training.trainers import Builder, Epochs, Floats, Place
from training.trainers.team import ALONE, Team

__all__ = ["CHECKPOINT", "Network", "about", "label_scale", "train"]

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.msgpack"
SAVE_EVERY_S = 10.0
_HELD_OUT = 10  # of as many examples one is held out, to see when to stop,
_HELD_OUT_ROWS = 20_000  # but no more than these


class Network(Protocol):
    """A network and its optimizer."""

    def step(self, features: Floats, labels: NDArray[Any], *, rows: int) -> Any:
        """Learn from a batch of `rows` rows, of which these are this process's share; the sum of their losses.

        The sum is a number of the framework, so that nobody has to wait for it.
        """

    def loss(self, features: Floats, labels: NDArray[Any]) -> float:
        """The sum of the losses of these rows, as they will be scored."""

    def state(self) -> bytes:
        """Weights, optimizer, and whatever else the next step depends on."""

    def restore(self, state: bytes) -> None:
        """Become what `state` was taken of."""


class _State(msgspec.Struct, kw_only=True):
    """Where a fit stands: `step` batches of `epoch` are done, `seen` of its rows had losses that add up to `total`."""

    network: bytes
    epoch: int = 0
    step: int = 0
    seen: int = 0
    total: float = 0.0
    best: float = math.inf
    best_network: bytes = b""
    worse: int = 0  # epochs since the best one
    history: list[tuple[str, float, int]] = []


class _Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    about: str
    state: _State


def about(
    builder: Builder, params: Mapping[str, Any], examples: Examples, task: Task, seed: int, structure: str
) -> str:
    """A digest of all that a fit follows from but code; a checkpoint with another one is of another fit."""
    name = f"{getattr(builder, '__module__', '')}:{getattr(builder, '__qualname__', '')}"
    what = [name, dict(sorted(params.items())), examples.fingerprint(), task, seed, structure]
    return hashlib.sha256(msgspec.json.encode(what)).hexdigest()


def label_scale(labels: NDArray[Any], task: Task) -> tuple[float, float]:
    """What to subtract from labels and then divide them by: nothing of classes, mean and deviation of quantities."""
    return (0.0, 1.0) if task == "classification" else (float(labels.mean()), float(labels.std()))


def train(
    network: Network,
    examples: Examples,
    epochs: Epochs,
    *,
    seed: int,
    place: Place,
    about: str,
    team: Team = ALONE,
) -> None:
    """Fit the network, from its checkpoint in `place` if there is one of this fit.

    With `patience`, every tenth example is held out, and the weights that were best on those are the ones kept.
    """
    apart: Examples | None = None
    if epochs.patience:
        examples, apart = examples.held_out(max(_HELD_OUT, math.ceil(len(examples) / _HELD_OUT_ROWS)))
    file = place.checkpoints / CHECKPOINT if place.checkpoints and team.rank == 0 else None
    about = f"{about} {place.code}"
    state = _resumed(network, file, about, team)
    for entry in state.history:
        place.log(*entry)
    saved = time.monotonic()
    while state.epoch < epochs.epochs and not (epochs.patience and state.worse >= epochs.patience):
        batches = examples.batches(
            epochs.batch_size, epoch=state.epoch, seed=seed, rank=team.rank, world=team.world
        )
        total: Any = state.total
        for features, labels in itertools.islice(batches, state.step, None):
            rows = min(epochs.batch_size, len(examples) - state.step * epochs.batch_size)
            total = total + network.step(features, labels, rows=rows)
            state.step, state.seen = state.step + 1, state.seen + len(labels)
            if file and time.monotonic() - saved >= SAVE_EVERY_S:
                state.total = float(total)
                _save(file, about, state, network)
                saved = time.monotonic()
        _end_epoch(state, float(total), network, apart, place, team)
    if file:
        _save(file, about, state, network)
    if state.best_network:
        network.restore(state.best_network)


def _end_epoch(
    state: _State, total: float, network: Network, apart: Examples | None, place: Place, team: Team
) -> None:
    entries = [("train_loss", total / max(state.seen, 1), state.epoch)]
    if apart is not None:
        ours = sum(network.loss(*block) for block in apart.blocks()) / len(apart)
        loss = float(np.frombuffer(team.share(np.float64(ours).tobytes()))[0])
        entries.append(("held_out_loss", loss, state.epoch))
        state.worse += 1
        if loss < state.best:
            state.best, state.best_network, state.worse = loss, network.state(), 0
    for entry in entries:
        place.log(*entry)
    state.history = [*state.history, *entries]
    state.epoch, state.step, state.seen, state.total = state.epoch + 1, 0, 0, 0.0


def _save(file: Path, about: str, state: _State, network: Network) -> None:
    state.network = network.state()
    with replace_file(file) as aside:
        aside.write_bytes(msgspec.msgpack.encode(_Checkpoint(about=about, state=state)))


def _resumed(network: Network, file: Path | None, about: str, team: Team) -> _State:
    """The state to go on from, which is the leader's; the network is in it already."""
    found = _read(file, about) if file else None
    given = team.share(b"" if found is None else msgspec.msgpack.encode(found))
    if not given:
        return _State(network=b"")
    state = msgspec.msgpack.decode(given, type=_State)
    network.restore(state.network)
    return state


def _read(file: Path, about: str) -> _State | None:
    if not file.is_file():
        return None
    try:
        checkpoint = msgspec.msgpack.decode(file.read_bytes(), type=_Checkpoint)
    except msgspec.DecodeError:
        log.warning("%s: is no checkpoint; begun from the start", file)
        return None
    if checkpoint.about != about:
        log.warning("%s: is of another fit (data, parameters, seed or code); begun from the start", file)
        return None
    state = checkpoint.state
    log.info("%s: going on in epoch %d after %d steps", file, state.epoch, state.step)
    return state
