"""The gate: what a candidate must show before it may be served. Refusals are as readable as admissions."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mlops.contract import UseCase
from training.checks import Check
from training.evidence import gather
from training.results import TrainResult
from training.rules import checks_of

__all__ = ["Verdict", "judge"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate says of a run's bundle; admitted if no check failed.

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
        return tuple(check.text for check in self.checks if check.passed is False)


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
        public_key: verifies the candidate's bundle and the champion's.

    Raises:
        BundleError: a bundle cannot be read, or is not what was signed.
        InputError: the feature table does not hold the champion's features or the events of the evaluation.
    """
    evidence = gather(result, use_case, champion=champion, features=features, public_key=public_key)
    checks = checks_of(evidence)
    return Verdict(
        candidate=result.name,
        run_id=result.run_id,
        digest=result.digest,
        admitted=all(check.passed is not False for check in checks),
        checks=checks,
        champion=evidence.champion.digest if evidence.champion else None,
        champion_figure=evidence.champion.compared.champion if evidence.champion else None,
    )
