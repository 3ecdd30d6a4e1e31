"""Why a row scores as it does, from the bundle alone: the features that moved its score furthest from others'."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops.bundle import Bundle
from mlops.errors import BundleError, InputError
from mlops.features import FeatureSet
from mlops.shapley import Explainer, Floats
from mlops.wording import definitions, quantity

__all__ = ["REFERENCE_ROWS", "Reason", "ReasonCodes", "choose_reference", "reasons"]

REFERENCE_ROWS = 4
"""With fewer, reasons depend on which they are; more cost accuracy, as they share the scores that a row may cost."""
_NOTHING = 1e-9


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """A feature of a row, its value, what it adds to the score (in the score's unit), and that as a sentence."""

    feature: str
    value: float
    contribution: float
    text: str


class ReasonCodes:
    """The reasons for the scores of a bundle's model, compared with the bundle's reference rows.

    Args:
        bundle: the bundle.
        model: its model, from `mlops.model.open_model`.

    Raises:
        BundleError: the reference rows do not have the features of the model.
    """

    def __init__(self, bundle: Bundle, model: Callable[[Floats], Floats]) -> None:
        self._names = bundle.features.names
        if not bundle.reference or {len(row) for row in bundle.reference} != {len(self._names)}:
            raise BundleError(
                f"rows must have {len(self._names)} features",
                where=bundle.path / "reference.json",
                todo="train again",
            )
        self.explainer = Explainer(model, np.array(bundle.reference, np.float32))
        self._words = _words(bundle.features)
        columns = bundle.schema.events.columns
        self._digits = {c.unit: c.decimals for c in columns if c.unit and c.type == "decimal"}
        self._referred = [
            self._range(column.tolist(), unit)
            for column, (_, unit) in zip(self.explainer.reference.T, self._words, strict=True)
        ]

    def __call__(self, row: Floats, top: int = 3) -> tuple[Reason, ...]:
        """The `top` features that moved the score of a row [f] to where it is, the strongest first.

        Of a row that scores higher than the reference rows these are features that raise its score, of one that scores
        lower, features that lower it. There are fewer if no more of them did.

        Raises:
            InputError: the row does not have the features of the model.
        """
        row = np.asarray(row, np.float32)
        if row.shape != (len(self._names),):
            raise InputError(f"has the shape {row.shape}, not {(len(self._names),)}", where="row of features")
        contributions = self.explainer.contributions(row)
        towards = contributions if contributions.sum() >= 0 else -contributions
        strongest = [at for at in np.argsort(-towards, kind="stable")[:top] if towards[at] > _NOTHING]
        return tuple(self._reason(at, float(row[at]), float(contributions[at])) for at in strongest)

    def _reason(self, at: int, value: float, contribution: float) -> Reason:
        words, unit = self._words[at]
        text = (
            f"{words} is {self._said(value, unit)}, compared with {self._referred[at]} in the reference rows: "
            f"{'raises' if contribution > 0 else 'lowers'} the score by {abs(contribution):.3g}"
        )
        return Reason(feature=self._names[at], value=value, contribution=contribution, text=text)

    def _said(self, value: float, unit: str) -> str:
        return " ".join(filter(None, quantity(value, unit, self._digits)))

    def _range(self, values: list[float], unit: str) -> str:
        """What a feature is in the reference rows: they are few, and their median may be what no row can have.

        They say what a row is compared with, and not what is usual: of each feature they hold a handful of values.
        """
        if unit in ("s", "share"):
            low, high = (self._said(value, unit) for value in (min(values), max(values)))
        else:  # the unit has been said with the value
            low, high = (quantity(value, unit, self._digits)[0] for value in (min(values), max(values)))
        return low if low == high else f"{low} {'or' if unit == '0/1' else 'to'} {high}"


def reasons(
    bundle: Bundle, model: Callable[[Floats], Floats], row: Floats, top: int = 3
) -> tuple[Reason, ...]:
    """`ReasonCodes` for one row; who explains many keeps the object, which takes as long to make as to ask."""
    return ReasonCodes(bundle, model)(row, top)


def choose_reference(features: Floats, scores: Floats, k: int = REFERENCE_ROWS) -> Floats:
    """A few typical rows: what explanations compare a row with. The same table gives the same rows.

    The rows are cut into `k` parts of equal size by their score, so that the chosen ones' scores stand for all. Of each
    part it is the row nearest to the part's medians: the least sum of distances, each in standard deviations of its
    feature over all rows. It is a row that there is, so no combination that cannot be.

    Args:
        features: rows [n, f], as the model reads them.
        scores: their scores [n].
        k: how many to choose; all rows, if there are no more.

    Returns:
        Rows [min(k, n), f], from the lowest scores to the highest.

    Raises:
        InputError: there are no rows.
    """
    if not len(scores):
        raise InputError("there is none to choose from", where="rows to explain scores with")
    spread = features.std(axis=0, dtype=np.float64)
    spread[spread == 0] = 1.0
    chosen = []
    for part in np.array_split(np.argsort(scores, kind="stable"), min(k, len(scores))):
        rows: NDArray[np.float64] = features[part].astype(np.float64)
        distance = (np.abs(rows - np.median(rows, axis=0)) / spread).sum(axis=1)
        chosen.append(part[np.argmin(distance)])
    return features[chosen]


def _words(features: FeatureSet) -> list[tuple[str, str]]:
    """What each feature is, and its unit."""
    defined = definitions(features)
    return [
        (
            f"{description} ({name})" if description else defined[name],
            unit,
        )
        for name, unit, description in features.describe()
    ]
