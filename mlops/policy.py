"""The numbers that people tune, read from a use case's `policy.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from mlops.errors import ConfigError

__all__ = ["Costs", "Drift", "Gate", "Performance", "Policy", "Split"]


Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Difference = Annotated[float, Meta(ge=-1, le=1)]
Confidence = Annotated[float, Meta(gt=0, lt=1)]
Money = Annotated[float, Meta(ge=0, le=1e12)]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Split(_Strict, frozen=True, kw_only=True):
    """Days of training, of waiting for labels, and of testing, one after the other."""

    train_days: Positive = 7
    delay_days: NotNegative = 7
    test_days: Positive = 7

    @property
    def days(self) -> int:
        return self.train_days + self.delay_days + self.test_days


class Gate(_Strict, frozen=True, kw_only=True):
    """What a candidate must show before it may be served.

    `baseline_margin` is the average precision that it must have above the best single feature's;
    `champion_margin` the average precision that it may not fall below the champion's plus, at the lower end of
    a paired bootstrap interval with `confidence`.
    """

    min_test_frauds: Positive = 30
    min_auc: Share = 0.7
    baseline_margin: Difference = 0.02
    champion_margin: Difference = 0.0
    confidence: Confidence = 0.9
    bootstrap: Positive = 200
    parity_tolerance: Share = 1e-5
    parity_rows: Positive = 2000


class Costs(_Strict, frozen=True, kw_only=True):
    """What decisions cost, in the currency of the amounts.

    A review costs `review` and stops the fraud; a declined genuine payment costs `false_decline`; an approved
    fraud costs its amount plus `chargeback`.
    """

    review: Money = 5.0
    false_decline: Money = 40.0
    chargeback: Money = 15.0


class Drift(_Strict, frozen=True, kw_only=True):
    """When the distribution of a feature counts as drifted, and when enough of them make it an alert.

    `method` and `threshold` are Evidently's per-column statistic and its limit; `share` is the share of features.
    """

    method: str = "wasserstein"
    threshold: Annotated[float, Meta(ge=0)] = 0.1
    share: Annotated[float, Meta(gt=0, le=1)] = 0.2


class Performance(_Strict, frozen=True, kw_only=True):
    """When a loss of average precision becomes a request to retrain.

    The loss counts if the upper end of the current interval lies `min_drop` under the reference value.
    """

    min_drop: Share = 0.05
    confidence: Confidence = 0.9
    bootstrap: Positive = 200
    min_frauds: Positive = 20


class Policy(_Strict, frozen=True, kw_only=True):
    """A use case's `policy.yaml`, whole."""

    split: Split = Split()
    gate: Gate = Gate()
    costs: Costs = Costs()
    drift: Drift = Drift()
    performance: Performance = Performance()
    top_k: Positive = 100

    @classmethod
    def from_yaml(cls, path: Path) -> Policy:
        """Read and check a policy.

        Raises:
            ConfigError: the file is missing, not YAML, or holds an unknown key, a value of the wrong type, or one that
                is out of range.
        """
        try:
            return msgspec.yaml.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            raise ConfigError("no such file", where=path) from None
        except msgspec.DecodeError as error:
            raise ConfigError(str(error), where=path) from None
