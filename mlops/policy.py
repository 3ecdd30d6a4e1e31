"""The numbers that people tune, read from a use case's `policy.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from mlops.errors import ConfigError

__all__ = ["Costs", "DecisionLog", "Drift", "Gate", "Performance", "Policy", "RandomSplit", "Split"]


Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Difference = Annotated[float, Meta(ge=-1, le=1)]
Confidence = Annotated[float, Meta(gt=0, lt=1)]
Limit = Annotated[float, Meta(gt=0, le=1e6)]
Money = Annotated[float, Meta(ge=0, le=1e12)]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Split(_Strict, frozen=True, kw_only=True, tag_field="by", tag="time"):
    """`by: time`: days of training, of waiting for labels, and of testing, one after the other."""

    train_days: Positive = 7
    delay_days: NotNegative = 7
    test_days: Positive = 7

    @property
    def days(self) -> int:
        return self.train_days + self.delay_days + self.test_days


class RandomSplit(_Strict, frozen=True, kw_only=True, tag_field="by", tag="random"):
    """`by: random`: shares of all events to train on, to choose thresholds on, and to test on.

    What an event is for follows from its id and the `seed`, class by class; so it stays for that when others come.
    """

    train: Share = 0.6
    validation: Share = 0.2
    test: Share = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        shares = (self.train, self.validation, self.test)
        if not (self.train > 0 and self.test > 0 and abs(sum(shares) - 1) < 1e-9):
            raise ConfigError(
                f"shares of {shares} are not a whole",
                where="split",
                todo="let them add up to 1, all but one above 0",
            )


class Gate(_Strict, frozen=True, kw_only=True):
    """What a candidate must show before it may be served: `docs/gate.md` has each rule with its reasons.

    Margins are of average precision in classification, and in regression of the root mean squared error, as a share
    of the other's.

    Fields:
        min_test_positives, min_auc: of classification.
        min_test_events: of regression.
        constant_margin: how much better than the best constant, in regression, at the lower end of the interval.
        baseline_margin: how much better than the best single feature.
        champion_margin: how much better than the champion, at the lower end of a paired bootstrap interval.
        slice_margin: how much worse than the champion in a slice, at the upper end of such an interval.
        min_slice_positives, min_slice_events: the least support of a slice that is judged.
        confidence, bootstrap: of these intervals, and how many draws they are made of.
        max_calibration_error: what the scores miscount in all, as a share of the positives that there were.
        max_bias: how far the mean prediction is off, as a share of the root mean squared error, in regression.
        parity_tolerance: how far a score of the exported graph may be from the original's, as a share of the labels'
            root mean square where they are quantities.
        parity_rows: over how many rows that is looked for.
        max_latency_ms: 99th percentile of scoring one row, in milliseconds.
        max_bundle_mb: of the bundle's files, in megabytes.
        max_importance: the largest share of the scores' movement that may be one feature's.
        max_spread: standard deviation of the headline figure over seeds of the fit, as a share of its mean.
        max_age_days: how many days the training days may end before those that the split allows.
    """

    min_test_positives: Positive = 30
    min_auc: Share = 0.7
    min_test_events: Positive = 50
    constant_margin: Difference = 0.0
    baseline_margin: Difference = 0.02
    champion_margin: Difference = 0.0
    slice_margin: Share = 0.05
    min_slice_positives: Positive = 20
    min_slice_events: Positive = 50
    confidence: Confidence = 0.9
    bootstrap: Positive = 200
    max_calibration_error: Limit = 0.75
    max_bias: Limit = 0.25
    parity_tolerance: Share = 1e-5
    parity_rows: Positive = 10_000
    max_latency_ms: Limit = 5.0
    max_bundle_mb: Limit = 100.0
    max_importance: Share = 0.9
    max_spread: Limit = 0.1
    max_age_days: NotNegative = 30


class Costs(_Strict, frozen=True, kw_only=True):
    """What decisions cost, in the currency of the amounts.

    A review costs `review` and stops the fraud; a declined genuine payment costs `false_decline`; an approved
    fraud costs its amount plus `chargeback`. `capacity` is how many reviews can be done a day, as many as it takes
    unless said: thresholds are then chosen among those that keep it.
    """

    review: Money = 5.0
    false_decline: Money = 40.0
    chargeback: Money = 15.0
    capacity: Positive | None = None


class Drift(_Strict, frozen=True, kw_only=True):
    """When the distribution of a feature counts as drifted, and when enough of them make it an alert.

    `method` and `threshold` are Evidently's per-column statistic and its limit; `share` is the share of features.
    """

    method: str = "wasserstein"
    threshold: Annotated[float, Meta(ge=0)] = 0.1
    share: Annotated[float, Meta(gt=0, le=1)] = 0.2


class Performance(_Strict, frozen=True, kw_only=True):
    """When a loss of average precision, or a rise of the root mean squared error, becomes a request to retrain.

    The loss counts if the upper end of the current interval lies `min_drop` under the reference value, and the period
    has `min_positives`; the rise, if the lower end lies `max_rise` of the reference value above it, and the period has
    `min_events`.
    """

    min_drop: Share = 0.05
    max_rise: Annotated[float, Meta(ge=0)] = 0.1
    confidence: Confidence = 0.9
    bootstrap: Positive = 200
    min_positives: Positive = 20
    min_events: Positive = 50


class DecisionLog(_Strict, frozen=True, kw_only=True):
    """How long what serving wrote down is kept, and what nobody should read in it.

    Fields:
        keep_raw_days: the server's own files, once their rows are in the archive.
        keep_days: the archive's rows.
        hash: columns of an event, ids or text, that stand in the archive and in what is read from the logs as
            pseudonyms only.
    """

    keep_raw_days: Positive = 30
    keep_days: Positive = 730
    hash: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.keep_days < self.keep_raw_days:
            raise ConfigError(
                f"the archive is kept {self.keep_days} days, and the files that it is made of {self.keep_raw_days}",
                where="decisions",
                todo="set `keep_days` to `keep_raw_days` or more",
            )


class Policy(_Strict, frozen=True, kw_only=True):
    """A use case's `policy.yaml`, whole. Without `costs` nothing is decided: the answer is a score."""

    split: Split | RandomSplit = Split()
    gate: Gate = Gate()
    costs: Costs | None = None
    drift: Drift = Drift()
    performance: Performance = Performance()
    decisions: DecisionLog = DecisionLog()
    top_k: Positive = 100

    def __post_init__(self) -> None:
        if self.costs is not None and self.costs.capacity is not None and isinstance(self.split, RandomSplit):
            raise ConfigError(
                "reviews a day are limited, and a random split knows no days",
                where="costs",
                todo="leave out `capacity`, or split `by: time`",
            )

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
