"""The numbers that people tune, read from a use case's `policy.yaml`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mlops.errors import ConfigError

__all__ = ["Costs", "Drift", "Gate", "Performance", "Policy", "Split"]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Split(_Strict, frozen=True, kw_only=True):
    """Days of training, of waiting for labels, and of testing, one after the other."""

    train_days: int = 7
    delay_days: int = 7
    test_days: int = 7

    @property
    def days(self) -> int:
        return self.train_days + self.delay_days + self.test_days


class Gate(_Strict, frozen=True, kw_only=True):
    """What a candidate must show before it may be served.

    `baseline_margin` is the average precision that it must have above the best single feature's;
    `champion_margin` the average precision that it may not fall below the champion's plus, at the lower end of
    a paired bootstrap interval with `confidence`.
    """

    min_test_frauds: int = 30
    min_auc: float = 0.7
    baseline_margin: float = 0.02
    champion_margin: float = 0.0
    confidence: float = 0.9
    bootstrap: int = 200
    parity_tolerance: float = 1e-5
    parity_rows: int = 2000


class Costs(_Strict, frozen=True, kw_only=True):
    """What decisions cost, in the currency of the amounts.

    A review costs `review` and stops the fraud; a declined genuine payment costs `false_decline`; an approved
    fraud costs its amount plus `chargeback`.
    """

    review: float = 5.0
    false_decline: float = 40.0
    chargeback: float = 15.0


class Drift(_Strict, frozen=True, kw_only=True):
    """When the distribution of a feature counts as drifted, and when enough of them make it an alert.

    `method` and `threshold` are Evidently's per-column statistic and its limit; `share` is the share of features.
    """

    method: str = "wasserstein"
    threshold: float = 0.1
    share: float = 0.2


class Performance(_Strict, frozen=True, kw_only=True):
    """When a loss of average precision becomes a request to retrain.

    The loss counts if the upper end of the current interval lies `min_drop` under the reference value.
    """

    min_drop: float = 0.05
    confidence: float = 0.9
    bootstrap: int = 200
    min_frauds: int = 20


class Policy(_Strict, frozen=True, kw_only=True):
    """A use case's `policy.yaml`, whole."""

    split: Split = Split()
    gate: Gate = Gate()
    costs: Costs = Costs()
    drift: Drift = Drift()
    performance: Performance = Performance()
    top_k: int = 100

    @classmethod
    def from_yaml(cls, path: Path) -> Policy:
        """Read and check a policy.

        Raises:
            ConfigError: the file is missing, not YAML, or holds an unknown key or a value of the wrong type.
        """
        try:
            return msgspec.yaml.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            raise ConfigError("no such file", where=path) from None
        except msgspec.DecodeError as error:
            raise ConfigError(str(error), where=path) from None
