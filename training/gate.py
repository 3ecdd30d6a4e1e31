"""The gate: what a candidate must show before it may be served. Refusals are as readable as admissions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mlops import metrics
from mlops.bundle import open_bundle
from mlops.contract import UseCase
from mlops.errors import InputError
from mlops.model import Model
from training.dataset import load_dataset
from training.evaluate import clusters_of
from training.train import TrainResult

__all__ = ["Check", "Verdict", "judge"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One condition: what was seen, what is asked for, and both in a sentence."""

    name: str
    observed: float
    limit: float
    passed: bool
    text: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate says of a run's bundle; admitted if every check passed.

    `champion` is the digest of the champion's bundle that it was compared with and `champion_ap` that one's average
    precision on the same events, if there is a champion.
    """

    candidate: str
    run_id: str
    digest: str
    admitted: bool
    checks: tuple[Check, ...]
    champion: str | None = None
    champion_ap: float | None = None

    @property
    def refusals(self) -> tuple[str, ...]:
        """The sentences of the checks that failed."""
        return tuple(check.text for check in self.checks if not check.passed)


def judge(
    result: TrainResult,
    use_case: UseCase,
    *,
    champion: Path | None,
    features: Path,
    public_key: Path,
) -> Verdict:
    """Hold a trained candidate against the policy's gate, and against the champion on the same events.

    Args:
        champion: the champion's bundle, or None if nothing was ever promoted.
        features: the feature table that the candidate was tested on; it must hold the champion's features as well.
        public_key: verifies the champion's bundle.

    Raises:
        BundleError: the champion's bundle cannot be read, or is not what was signed.
        InputError: the feature table does not hold the champion's features or the events of the evaluation.
    """
    gate = use_case.policy.gate
    checks = [
        _at_least(
            "test_frauds",
            float(result.test_frauds),
            float(gate.min_test_positives),
            f"{result.test_frauds} frauds among the {result.test_events:,} test events",
            f"at least {gate.min_test_positives}",
        ),
        _at_least(
            "auc",
            result.auc,
            gate.min_auc,
            f"an area under the ROC curve of {result.auc:.3f}",
            f"at least {gate.min_auc:.3f}",
        ),
        _at_least(
            "baseline",
            result.ap - result.baseline_ap,
            gate.baseline_margin,
            f"an average precision of {result.ap:.3f}, {result.ap - result.baseline_ap:+.3f} against the best single "
            f"feature's {result.baseline_ap:.3f} ({result.baseline})",
            f"at least {gate.baseline_margin:+.3f}",
        ),
        _check(
            "onnx_parity",
            result.onnx_max_abs_diff,
            gate.parity_tolerance,
            result.onnx_max_abs_diff <= gate.parity_tolerance,
            f"scores of the ONNX graph at most {result.onnx_max_abs_diff:.1e} from the original's over "
            f"{result.onnx_rows:,} rows",
            f"at most {gate.parity_tolerance:.1e}",
        ),
    ]
    digest = champion_ap = None
    if champion is not None:
        digest, champion_ap, check = _against_champion(result, use_case, champion, features, public_key)
        checks.append(check)
    return Verdict(
        candidate=result.name,
        run_id=result.run_id,
        digest=result.digest,
        admitted=all(check.passed for check in checks),
        checks=tuple(checks),
        champion=digest,
        champion_ap=champion_ap,
    )


def _against_champion(
    result: TrainResult, use_case: UseCase, champion: Path, features: Path, public_key: Path
) -> tuple[str, float, Check]:
    gate = use_case.policy.gate
    bundle = open_bundle(champion, public_key=public_key)
    data = load_dataset(
        features,
        use_case,
        first_day=result.first_day,
        days=use_case.policy.split.days,
        features=bundle.features,
    )
    evaluation = pq.read_table(result.evaluation)
    label, score = evaluation["label"].to_numpy(), evaluation["score"].to_numpy()
    rows = _rows_of(evaluation["id"].to_numpy(), data.ids, features)
    theirs = Model(bundle.model)(data.features[rows])
    difference = metrics.paired_bootstrap(
        label,
        score,
        theirs,
        clusters_of(data, rows),
        rounds=gate.bootstrap,
        confidence=gate.confidence,
        seed=result.seed,
    )
    champion_ap = metrics.average_precision(label, theirs)
    fact = (
        f"an average precision of {result.ap:.3f} against the champion's {champion_ap:.3f} on the same "
        f"{len(rows):,} events, {difference.value:+.3f} with a {gate.confidence:.0%} interval of "
        f"{difference.low:+.3f} to {difference.high:+.3f}"
    )
    return (
        bundle.digest,
        champion_ap,
        _check(
            "champion",
            difference.low,
            gate.champion_margin,
            difference.low > gate.champion_margin,
            fact,
            f"a lower end above {gate.champion_margin:+.3f}",
        ),
    )


def _rows_of(ids: NDArray[Any], held: NDArray[Any], features: Path) -> NDArray[np.int64]:
    """Where `ids` stand in `held`."""
    order = np.argsort(held, kind="stable")
    place = np.minimum(np.searchsorted(held, ids, sorter=order), len(held) - 1)
    rows: NDArray[np.int64] = order[place]
    if missing := int((held[rows] != ids).sum()):
        raise InputError(
            f"{missing:,} events of the evaluation are not in it",
            where=features,
            todo="judge on the feature table that the candidate was tested on",
        )
    return rows


def _at_least(name: str, observed: float, limit: float, fact: str, wanted: str) -> Check:
    return _check(name, observed, limit, observed >= limit, fact, wanted)


def _check(name: str, observed: float, limit: float, passed: bool, fact: str, wanted: str) -> Check:
    text = f"{'Passed' if passed else 'Refused'}: {fact}; {wanted} is asked for."
    return Check(name=name, observed=observed, limit=limit, passed=passed, text=text)
