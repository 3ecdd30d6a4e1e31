"""The loop that fits networks: when it stops, what it keeps, and that a kill changes nothing. Of no framework."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from training.examples import ArrayExamples
from training.trainers import Epochs, Place, loop
from training.trainers.loop import CHECKPOINT, train

RNG = np.random.default_rng(0)
X = RNG.normal(size=(1_000, 3)).astype(np.float32)
Y = X @ np.array([1.0, -2.0, 0.5]) + 0.1 * RNG.normal(size=1_000)


class Killed(Exception):
    """Instead of the power switch."""


class Line:
    """A linear model that learns by gradient descent, from a step on by too large ones, and can be killed."""

    def __init__(self, *, kill_at: int = -1, spoil_at: int = 10**9) -> None:
        self.weights, self.steps, self.own_steps = np.zeros(3), 0, 0
        self.kill_at, self.spoil_at = kill_at, spoil_at

    def step(self, features: Any, labels: Any, *, rows: int) -> float:
        if self.own_steps == self.kill_at:
            raise Killed
        error = features @ self.weights - labels
        rate = 0.05 if self.steps < self.spoil_at else -0.05
        self.weights = self.weights - rate * features.T @ error / rows
        self.steps, self.own_steps = self.steps + 1, self.own_steps + 1
        return float((error**2).sum())

    def loss(self, features: Any, labels: Any) -> float:
        return float(((features @ self.weights - labels) ** 2).sum())

    def state(self) -> bytes:
        return msgspec.msgpack.encode((self.weights.tolist(), self.steps))

    def restore(self, state: bytes) -> None:
        weights, self.steps = msgspec.msgpack.decode(state)
        self.weights = np.array(weights)


def fitted(
    network: Line, folder: Path | None = None, *, about: str = "this", code: str = "", **epochs: Any
) -> list[tuple[str, float, int]]:
    logged: list[tuple[str, float, int]] = []
    place = Place(log=lambda *entry: logged.append(entry), checkpoints=folder, code=code)
    rows = Epochs(**{"epochs": 6, "batch_size": 90, **epochs})
    train(network, ArrayExamples(X, Y), rows, seed=3, place=place, about=about)
    return logged


@pytest.fixture(autouse=True)
def always_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY_S", 0.0)


def test_losses_are_logged_by_epoch_and_fall() -> None:
    logged = fitted(Line())
    assert [(name, step) for name, _, step in logged] == [("train_loss", epoch) for epoch in range(6)]
    assert logged[-1][1] < 0.1 * logged[0][1]


@pytest.mark.parametrize("patience", [0, 2])
@pytest.mark.parametrize("kill_at", [0, 1, 7, 12, 30])
def test_a_fit_that_was_killed_goes_on_to_the_same_weights_and_the_same_log(
    tmp_path: Path, kill_at: int, patience: int
) -> None:
    whole, resumed = Line(), Line()
    expected = fitted(whole, patience=patience)
    with pytest.raises(Killed):
        fitted(Line(kill_at=kill_at), tmp_path, patience=patience)
    logged = fitted(resumed, tmp_path, patience=patience)
    assert (resumed.weights == whole.weights).all()
    assert logged == expected
    assert resumed.own_steps == whole.own_steps - kill_at


def test_a_fit_that_was_done_is_not_done_again(tmp_path: Path) -> None:
    first, second = Line(), Line()
    assert fitted(first, tmp_path, patience=1) == fitted(second, tmp_path, patience=1)
    assert second.own_steps == 0
    assert (first.weights == second.weights).all()


def test_it_stops_when_held_out_examples_fare_worse_and_goes_back_to_the_best(tmp_path: Path) -> None:
    best, stopped = Line(), Line(spoil_at=30)
    logged = fitted(stopped, epochs=50, patience=3)
    held_out = [loss for name, loss, _ in logged if name == "held_out_loss"]
    assert np.argmin(held_out) == 2
    assert len(held_out) == 6
    fitted(best, epochs=3, patience=3)
    assert (stopped.weights == best.weights).all()


def test_without_patience_all_examples_are_learned_from() -> None:
    with_all, with_most = Line(), Line()
    fitted(with_all, epochs=1)
    fitted(with_most, epochs=1, patience=1)
    assert (with_all.own_steps, with_most.own_steps) == (12, 10)


@pytest.mark.parametrize("checkpoint", [b"", b"no checkpoint", b"\x80"])
def test_a_file_that_is_no_checkpoint_is_passed_over_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, checkpoint: bytes
) -> None:
    (tmp_path / CHECKPOINT).write_bytes(checkpoint)
    network = Line()
    fitted(network, tmp_path)
    assert network.own_steps == 72
    assert "is no checkpoint" in caplog.text


@pytest.mark.parametrize("other", [{"about": "another"}, {"code": "another"}])
def test_a_checkpoint_of_another_fit_or_other_code_is_passed_over_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, other: dict[str, str]
) -> None:
    fitted(Line(), tmp_path, **other)
    network = Line()
    with caplog.at_level(logging.WARNING):
        fitted(network, tmp_path)
    assert network.own_steps == 72
    assert "is of another fit" in caplog.text


def test_what_a_fit_follows_from_tells_it_from_others() -> None:
    examples, other = ArrayExamples(X, Y), ArrayExamples(X[:-1], Y[:-1])
    found = {
        loop.about(Line, {"a": 1}, examples, "regression", 0, "net"),
        loop.about(fitted, {"a": 1}, examples, "regression", 0, "net"),
        loop.about(Line, {"a": 2}, examples, "regression", 0, "net"),
        loop.about(Line, {"a": 1}, other, "regression", 0, "net"),
        loop.about(Line, {"a": 1}, examples, "classification", 0, "net"),
        loop.about(Line, {"a": 1}, examples, "regression", 1, "net"),
        loop.about(Line, {"a": 1}, examples, "regression", 0, "another net"),
    }
    assert len(found) == 7
    assert loop.about(Line, {"a": 1, "b": 2}, examples, "regression", 0, "") == loop.about(
        Line, {"b": 2, "a": 1}, ArrayExamples(X, Y), "regression", 0, ""
    )
