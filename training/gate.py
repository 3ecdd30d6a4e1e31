"""The gate: what a candidate must show before it may be served. Refusals are as readable as admissions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mlops.bundle import open_bundle
from mlops.contract import UseCase
from mlops.errors import InputError
from mlops.model import Model
from mlops.policy import Split
from training.checks import Check, check
from training.dataset import load_dataset
from training.results import TrainResult
from training.tasks import Compared, task_for

__all__ = ["Verdict", "judge"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate says of a run's bundle; admitted if every check passed.

    `champion` is the digest of the champion's bundle that it was compared with and `champion_figure` that one's
    average precision, or root mean squared error, on the same events, if there is a champion.
    """

    candidate: str
    run_id: str
    digest: str
    admitted: bool
    checks: tuple[Check, ...]
    champion: str | None = None
    champion_figure: float | None = None

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
        *task_for(use_case.task).checks(result.figures, gate, use_case.label),
        check(
            "onnx_parity",
            result.onnx_max_abs_diff,
            gate.parity_tolerance,
            result.onnx_max_abs_diff <= gate.parity_tolerance,
            f"scores of the ONNX graph at most {result.onnx_max_abs_diff:.1e} from the original's over "
            f"{result.onnx_rows:,} rows",
            f"at most {gate.parity_tolerance:.1e}",
        ),
    ]
    digest = compared = None
    if champion is not None:
        digest, compared = _against_champion(result, use_case, champion, features, public_key)
        checks.append(compared.check)
    return Verdict(
        candidate=result.name,
        run_id=result.run_id,
        digest=result.digest,
        admitted=all(check.passed for check in checks),
        checks=tuple(checks),
        champion=digest,
        champion_figure=compared.champion if compared else None,
    )


def _against_champion(
    result: TrainResult, use_case: UseCase, champion: Path, features: Path, public_key: Path
) -> tuple[str, Compared]:
    split = use_case.policy.split
    bundle = open_bundle(champion, public_key=public_key)
    data = load_dataset(
        features,
        use_case,
        first_day=result.first_day,
        days=split.days if isinstance(split, Split) else 0,
        features=bundle.features,
    )
    evaluation = pq.read_table(result.evaluation)
    rows = _rows_of(evaluation["id"].to_numpy(), data.ids, features)
    compared = task_for(use_case.task).compare(
        result.figures,
        evaluation["label"].to_numpy(),
        evaluation["score"].to_numpy(),
        Model(bundle.model)(data.features[rows]),
        data,
        rows,
        use_case.policy.gate,
        seed=result.seed,
    )
    return bundle.digest, compared


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
