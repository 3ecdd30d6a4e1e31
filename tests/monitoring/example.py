"""A small world of scored payments, and the story that monitoring makes of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlops.contract import UseCase, load_use_case
from mlops.metrics import auc, average_precision, card_precision_at_k, precision_recall_curve
from monitoring.performance import measure_performance
from monitoring.results import ColumnDrift, DriftResult
from monitoring.story import (
    Candidate,
    Check,
    Curve,
    Link,
    Milestone,
    Model,
    Period,
    Role,
    Stage,
    Story,
    Training,
    Window,
)

DAY_ZERO = date(2018, 4, 1)
USE_CASE: UseCase = load_use_case("usecases.fraud")


def payments(
    first_day: int,
    last_day: int,
    *,
    skill: Callable[[int], float],
    version: Callable[[int], str] = lambda day: "1",
    seed: int = 0,
    a_day: int = 400,
    known_after: float = 7.0,
) -> tuple[pa.Table, pa.Table]:
    """Served events and their labels. `skill` of a day: how many deviations frauds score above the genuine."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(first_day, last_day + 1), a_day)
    size = len(day)
    fraud = rng.random(size) < 0.04
    noise = rng.normal(0, 1, size)
    logit = (
        -4.5 + noise + fraud * np.array([skill(d) for d in range(first_day, last_day + 1)])[day - first_day]
    )
    score = 1 / (1 + np.exp(-logit))
    start = datetime(DAY_ZERO.year, DAY_ZERO.month, DAY_ZERO.day, tzinfo=UTC)
    time = [
        start + timedelta(days=int(d), seconds=int(s))
        for d, s in zip(day, rng.integers(0, 86_400, size), strict=True)
    ]
    ids = 1_000_000 * first_day + np.arange(size)
    decision = np.where(score >= 0.5, "decline", np.where(score >= 0.15, "review", "approve"))
    stamp = pa.timestamp("us", tz="UTC")
    served = pa.table(
        {
            "transaction_id": pa.array(ids),
            "event_time": pa.array(time, stamp),
            "customer_id": pa.array(rng.integers(0, 150, size)),
            "terminal_id": pa.array(rng.integers(0, 300, size)),
            "amount": pa.array(np.round(rng.uniform(1, 200, size), 2)),
            "score": pa.array(score),
            "decision": pa.array(decision.tolist()),
            "version": pa.array([version(int(d)) for d in day]),
        }
    )
    labels = pa.table(
        {
            "transaction_id": pa.array(ids),
            "is_fraud": pa.array(fraud),
            "known_at": pa.array([t + timedelta(days=known_after) for t in time], stamp),
        }
    )
    return served, labels


def _period(role: Role, title: str, model: str, first: int, last: int, skill: float, seed: int) -> Period:
    served, labels = payments(first, last, skill=lambda day: skill, seed=seed)
    as_of = datetime(2018, 12, 1, tzinfo=UTC)
    result = measure_performance(served, labels, USE_CASE, as_of=as_of)
    return Period.of(result, role=role, title=title, model=model, day_zero=DAY_ZERO)


def _training(
    title: str, first: int, promoted: str | None, *, skill: float, incumbent: float | None
) -> Training:
    names = (("gradient-boosting", "scikit-learn"), ("mlp-torch", "pytorch"), ("mlp-keras", "tensorflow"))
    candidates = []
    for number, (name, framework) in enumerate(names):
        y, s, day, card = _test_scores(
            first + 14, skill - 0.35 * (name != promoted) * (number + 1), seed=number
        )
        found = card_precision_at_k(day, card, y, s)
        admitted = promoted is not None
        candidates.append(
            Candidate(
                name=name,
                framework=framework,
                auc=auc(y, s),
                ap=average_precision(y, s),
                cp100=found.value,
                onnx_max_abs_diff=3.1e-7,
                seconds=4.2 + number,
                curve=_curve(y, s),
                admitted=admitted,
                checks=_checks(average_precision(y, s), admitted),
            )
        )
    curve = None
    if incumbent is not None:
        y, s, _, _ = _test_scores(first + 14, incumbent, seed=9)
        curve = _curve(y, s)
    return Training(
        title=title,
        train_days=(first, first + 6),
        test_days=(first + 14, first + 20),
        candidates=tuple(candidates),
        promoted=promoted,
        incumbent=curve,
        cp100_oracle=0.24,
    )


def _curve(y: NDArray, s: NDArray) -> Curve:
    found = precision_recall_curve(y, s)
    return Curve(recall=tuple(found.recall), precision=tuple(found.precision), ap=average_precision(y, s))


def _test_scores(first: int, skill: float, seed: int) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    served, labels = payments(first, first + 6, skill=lambda day: skill, seed=seed)
    day = served["event_time"].cast(pa.int64()).to_numpy() // 86_400_000_000
    y = labels["is_fraud"].to_numpy().astype(np.int64)
    return y, served["score"].to_numpy(), day, served["customer_id"].to_numpy()


def _checks(ap: float, admitted: bool) -> tuple[Check, ...]:
    return (
        Check(
            name="frauds in the test", observed="117", limit="≥ 20", passed=True, text="enough to judge by"
        ),
        Check(name="AUC", observed="0.941", limit="≥ 0.750", passed=True),
        Check(
            name="above the best single feature",
            observed=f"{ap:.3f}",
            limit="≥ 0.312",
            passed=True,
            text="average precision of terminal_id_rate_is_fraud_30d plus the margin",
        ),
        Check(
            name="not below the champion",
            observed="+0.214" if admitted else "−0.031",
            limit="> 0.000",
            passed=admitted,
            text="lower end of a paired bootstrap interval of the difference in average precision",
        ),
        Check(name="ONNX parity", observed="3.1e-7", limit="≤ 1e-5", passed=True, text="on 2,000 fresh rows"),
    )


def drift_result() -> DriftResult:
    values = np.random.default_rng(3).exponential(0.09, len(USE_CASE.features.names))
    values[:2] = 0.41, 3.2
    columns = tuple(
        ColumnDrift(name=name, statistic="wasserstein", value=float(v), threshold=0.1, drifted=bool(v >= 0.1))
        for name, v in zip(USE_CASE.features.names, values, strict=True)
    )
    share = sum(column.drifted for column in columns) / len(columns)
    return DriftResult(
        drifted=share >= 0.2,
        share=share,
        limit=0.2,
        columns=columns,
        reference_rows=14_000,
        current_rows=15_100,
    )


def example_story(*, refused: bool = False, links: tuple[Link, ...] = ()) -> Story:
    """The whole demo in small: a change on day 65, and a retraining that is promoted or refused on day 93."""
    old = Model(version="1", framework="scikit-learn", candidate="gradient-boosting")
    new = Model(version="2", framework="pytorch", candidate="mlp-torch")
    swap = Milestone(day=93, text=f"{new} is swapped in while requests go on", kind="model")
    if refused:
        swap = Milestone(day=93, text=f"the gate refuses every candidate, {old} stays", kind="refusal")
        last = (
            _period("unchanged", "after the refusal", str(old), 94, 99, 2.0, 3),
            _period("counterfactual", "had the best candidate been promoted", "mlp-torch", 94, 99, 1.8, 3),
        )
    else:
        last = (
            _period("retrained", "after retraining", str(new), 94, 99, 3.6, 3),
            _period("counterfactual", "had the old model stayed", str(old), 94, 99, 1.9, 3),
        )
    return Story(
        title="Card-payment fraud detection",
        seed=0,
        day_zero=DAY_ZERO.isoformat(),
        cards=1000,
        days=107,
        events_in=213_408,
        events_good=212_311,
        events_quarantined=884,
        events_duplicate=213,
        quarantine_reasons={"amount: below 0": 221, "customer_id: missing": 230, "event_time: missing": 218},
        windows=(
            Window(lane="first training", kind="train", first_day=37, last_day=43, text="train"),
            Window(lane="first training", kind="delay", first_day=44, last_day=50, text="delay"),
            Window(lane="first training", kind="test", first_day=51, last_day=57, text="test"),
            Window(lane="served over HTTP", kind="quiet", first_day=58, last_day=64, text="quiet"),
            Window(lane="served over HTTP", kind="changed", first_day=65, last_day=92, text="changed world"),
            Window(
                lane="served over HTTP",
                kind="changed" if refused else "swap",
                first_day=93,
                last_day=99,
                text="swap",
            ),
            Window(lane="retraining", kind="train", first_day=65, last_day=71, text="train"),
            Window(lane="retraining", kind="delay", first_day=72, last_day=78, text="delay"),
            Window(lane="retraining", kind="test", first_day=79, last_day=85, text="test"),
            Window(lane="retraining", kind="labels", first_day=86, last_day=92, text="labels"),
        ),
        milestones=(
            Milestone(day=58, text=f"{old} starts to serve"),
            Milestone(day=65, text="the world changes: card testing, and dearer payments", kind="change"),
            Milestone(day=72, text="Evidently finds the drift, without a single label", kind="alert"),
            Milestone(
                day=79, text="the labels are in: the drop is measured, and retraining requested", kind="alert"
            ),
            swap,
            Milestone(day=107, text="the last labels are in, and show what came of it"),
        ),
        trainings=(
            _training("before the change", 37, "gradient-boosting", skill=3.4, incumbent=None),
            _training(
                "after the change",
                65,
                None if refused else "mlp-torch",
                skill=2.0 if refused else 3.5,
                incumbent=2.1,
            ),
        ),
        champion_before=old,
        champion_after=old if refused else new,
        periods=(
            _period("before", "before the change", str(old), 58, 64, 3.4, 1),
            _period("changed", "after the change", str(old), 65, 92, 2.1, 2),
            *last,
        ),
        drift=drift_result(),
        drift_days=(65, 71),
        parity_events=14_212,
        feature_parity_max_abs_diff=0.0,
        onnx_parity_max_abs_diff=3.1e-7,
        requests_sent=1_532,
        requests_failed=0,
        stages=tuple(
            Stage(name=name, seconds=seconds)
            for name, seconds in (
                ("simulate", 3.1),
                ("validate", 6.4),
                ("features", 14.9),
                ("train, three frameworks", 31.0),
                ("quiet replay", 11.2),
                ("changed replay", 9.8),
                ("drift", 8.1),
                ("retrain", 27.4),
                ("replay with swap", 10.5),
            )
        ),
        wall_seconds=131.4,
        links=links,
    )
