"""Scores that are to be read as probabilities, made so on rows that the model has not seen.

Two methods, both strictly rising, so that no ranking changes:

- `sigmoid`: a·logit(s) + b through the logistic function (after Platt, Probabilistic outputs for support vector
  machines, 1999, with his targets; of the logit, as in Kull et al., Beta calibration, 2017, with one slope). Two
  numbers; for a hundred positives.
- `isotonic`: a line through the centres of the blocks of an isotonic regression (Oron and Flournoy, Centered isotonic
  regression, 2017). It takes any rising shape; for a thousand positives.

A calibrator goes into the graph, behind its score. It is computed in float64 there, as it is here, and it is nowhere so
steep that the rounding of a float32 score would show.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from mlops.errors import InputError
from training.onnx_graph import behind_score

__all__ = ["Calibrator", "Isotonic", "Sigmoid", "fit_calibration"]

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_EDGE = 1e-4  # how near to 0 and 1 a score comes before its logit is taken
_LEAST_SLOPE = (
    0.01  # of scores that fall where they should rise: they keep their order, and say next to nothing
)
_STEEPEST = 20.0  # times the rounding of a sum of float32, 3e-7, stays under 1e-5
_NEAR = (
    1e-6  # a score that lies no further from 0 or 1 is there: no line to it would rise by what a float tells
)
_RAW = "uncalibrated_score"


class Calibrator(Protocol):
    """A strictly rising function of scores in [0, 1]."""

    def __call__(self, scores: Floats) -> Floats:
        """Calibrated scores [n]."""

    def append(self, graph: bytes) -> bytes:
        """A graph with `features` and `score` whose score is the calibrated one.

        Raises:
            ParityError: it is no valid graph any more.
        """


def fit_calibration(
    scores: Floats, labels: NDArray[Any], method: Literal["sigmoid", "isotonic"]
) -> Calibrator:
    """The calibrator of this method for scores [n] and labels [n], 0 or 1.

    Raises:
        InputError: all labels are alike.
    """
    positives = int((labels == 1).sum())
    if not 0 < positives < len(labels):
        raise InputError(
            f"{positives:,} of {len(labels):,} events are positive: nothing to calibrate on",
            where="calibration",
            todo="wait for more labels, or leave out the candidate's `calibration`",
        )
    fit = _fit_sigmoid if method == "sigmoid" else _fit_isotonic
    return fit(scores.astype(np.float64), labels.astype(np.float64))


class Sigmoid(msgspec.Struct, frozen=True, kw_only=True):
    """1 / (1 + exp(−(slope · logit(s) + offset)))."""

    slope: float
    offset: float

    def __call__(self, scores: Floats) -> Floats:
        raw = self.slope * _logit(scores.astype(np.float64)) + self.offset
        calibrated: Floats = (1 / (1 + np.exp(-raw))).astype(np.float32)
        return calibrated

    def append(self, graph: bytes) -> bytes:
        constants = {
            "squeeze": 1 - 2 * _EDGE,
            "edge": _EDGE,
            "one": 1.0,
            "slope": self.slope,
            "offset": self.offset,
        }
        nodes = [
            _node("Cast", [_RAW], "double", to=TensorProto.DOUBLE),
            _node("Mul", ["double", "squeeze"], "squeezed"),
            _node("Add", ["squeezed", "edge"], "inner"),
            _node("Sub", ["one", "inner"], "rest"),
            _node("Log", ["inner"], "log_inner"),
            _node("Log", ["rest"], "log_rest"),
            _node("Sub", ["log_inner", "log_rest"], "logit"),
            _node("Mul", ["logit", "slope"], "sloped"),
            _node("Add", ["sloped", "offset"], "raw"),
            _node("Sigmoid", ["raw"], "calibrated"),
            _node("Cast", ["calibrated"], "score", to=TensorProto.FLOAT),
        ]
        return _appended(graph, nodes, {name: np.float64(value) for name, value in constants.items()})


class Isotonic(msgspec.Struct, frozen=True, kw_only=True):
    """Lines between points, which rise in `scores`, from 0 to 1, and in `values`."""

    scores: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, scores: Floats) -> Floats:
        begin, low, high, slope = self._pieces()
        double = scores.astype(np.float64)
        piece = np.searchsorted(begin[1:], double, side="right")
        line = low[piece] + (double - begin[piece]) * slope[piece]
        calibrated: Floats = np.minimum(line, high[piece]).astype(np.float32)
        return calibrated

    def append(self, graph: bytes) -> bytes:
        begin, low, high, slope = self._pieces()
        nodes = [
            _node("Cast", [_RAW], "double", to=TensorProto.DOUBLE),
            _node("Unsqueeze", ["double", "last_axis"], "column"),
            _node("GreaterOrEqual", ["column", "borders"], "beyond"),
            _node("Cast", ["beyond"], "counted", to=TensorProto.INT64),
            _node("ReduceSum", ["counted", "last_axis"], "piece", keepdims=0),
            *(_node("Gather", [held, "piece"], f"{held}_of") for held in ("begin", "low", "high", "slope")),
            _node("Sub", ["double", "begin_of"], "along"),
            _node("Mul", ["along", "slope_of"], "rise"),
            _node("Add", ["low_of", "rise"], "line"),
            _node("Min", ["line", "high_of"], "calibrated"),
            _node("Cast", ["calibrated"], "score", to=TensorProto.FLOAT),
        ]
        constants = {"borders": begin[1:], "begin": begin, "low": low, "high": high, "slope": slope}
        return _appended(graph, nodes, {**constants, "last_axis": np.array([1])})

    def _pieces(self) -> tuple[Doubles, Doubles, Doubles, Doubles]:
        """Of each piece: where it begins, its value there, its value where it ends, and its slope."""
        x, y = np.array(self.scores), np.array(self.values)
        return x[:-1], y[:-1], y[1:], np.diff(y) / np.diff(x)


def _logit(scores: Doubles) -> Doubles:
    inner = scores * (1 - 2 * _EDGE) + _EDGE
    logit: Doubles = np.log(inner) - np.log(1 - inner)
    return logit


def _fit_sigmoid(scores: Doubles, labels: Doubles) -> Sigmoid:
    """Newton's method on the log loss, which is convex in slope and offset."""
    x = _logit(scores)
    positives = labels.sum()
    negatives = len(labels) - positives
    target = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    slope, offset = _newton(np.stack([x, np.ones_like(x)]), np.zeros_like(x), target)
    if slope < _LEAST_SLOPE:
        slope = _LEAST_SLOPE
        (offset,) = _newton(np.ones((1, len(x))), slope * x, target)
    return Sigmoid(slope=float(slope), offset=float(offset))


def _newton(design: Doubles, given: Doubles, target: Doubles) -> Doubles:
    """The weights [k] whose `weights @ design [k, n] + given` has the least log loss; halves steps that go too far."""
    weights = np.zeros(len(design))

    def loss(at: Doubles) -> float:
        raw = at @ design + given
        return float(np.sum(np.logaddexp(0, raw) - target * raw))

    now = loss(weights)
    for _ in range(100):
        p = 1 / (1 + np.exp(-(weights @ design + given)))
        curvature = (design * (p * (1 - p))) @ design.T + 1e-9 * np.eye(len(design))
        step = np.linalg.solve(curvature, design @ (p - target))
        while (then := loss(weights - step)) > now and np.abs(step).max() > 1e-9:
            step /= 2
        if np.abs(step).max() <= 1e-9:
            break
        weights, now = weights - step, then
    return weights


def _fit_isotonic(scores: Doubles, labels: Doubles) -> Isotonic:
    """Pool adjacent violators; then pool what would be too steep; then join the centres."""
    order = np.argsort(scores, kind="stable")
    unique, first = np.unique(scores[order], return_index=True)
    counts = np.diff(np.append(first, len(scores)))
    positives = np.add.reduceat(labels[order], first)
    blocks: list[tuple[float, float, float]] = []  # events, the sum of their scores, positives
    for block in zip(counts.astype(float), unique * counts, positives, strict=True):
        blocks.append(block)
        while len(blocks) > 1 and not _fits(blocks[-2], blocks[-1]):
            last = blocks.pop()
            blocks[-1] = tuple(a + b for a, b in zip(blocks[-1], last, strict=True))  # type: ignore[assignment]
    n, total, positive = np.array(blocks).T
    x, y = total / n, positive / n
    # A block without a positive, or with nothing else, is not proof of never or always; and the line has to rise.
    y = np.maximum(
        y, np.append(np.minimum(0.5 / (n[0] + 1), y[1] / 2 if len(y) > 1 else 1), np.zeros(len(y) - 1))
    )
    y[-1] = min(y[-1], max(1 - 0.5 / (n[-1] + 1), (1 + y[-2]) / 2 if len(y) > 1 else 0))
    # Beyond the outer centres nothing is known; a line that is all but flat keeps the order there.
    x[0] = 0 if x[0] < _NEAR else x[0]
    x[-1] = 1 if x[-1] > 1 - _NEAR else x[-1]
    if x[0] > 0:
        x, y = np.append(0, x), np.append(max(0.9 * y[0], y[0] - _STEEPEST * x[0]), y)
    if x[-1] < 1:
        x, y = (
            np.append(x, 1),
            np.append(y, min(1.1 * y[-1], y[-1] + _STEEPEST * (1 - x[-1]), (1 + y[-1]) / 2)),
        )
    return Isotonic(scores=tuple(x.tolist()), values=tuple(y.tolist()))


def _fits(left: tuple[float, float, float], right: tuple[float, float, float]) -> bool:
    """Whether the line between two blocks rises, and not too steeply."""
    rise = right[2] / right[0] - left[2] / left[0]
    run = right[1] / right[0] - left[1] / left[0]
    return 0 < rise <= _STEEPEST * run


def _node(operator: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, [_named(name) for name in inputs], [_named(output)], **attributes)


def _named(name: str) -> str:
    return name if name in (_RAW, "score") else f"calibration_{name}"


def _appended(graph: bytes, nodes: list[NodeProto], constants: dict[str, Any]) -> bytes:
    named = {_named(name): np.asarray(held) for name, held in constants.items()}
    return behind_score(graph, nodes, named, reads=_RAW)
