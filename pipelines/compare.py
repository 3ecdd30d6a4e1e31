"""A home's candidates against the champion of another home: what a change of features or trainers is worth.

Both homes were trained on the same events, one by the code before a change and one by the code after it. Figures are
those that training wrote into the signed bundles; what is added here are paired differences on the same test events.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mlops import metrics
from mlops.bundle import Bundle, Decisions, open_bundle
from mlops.contract import UseCase
from mlops.deployment import read_deployment
from mlops.errors import InputError
from mlops.home import use_case_of
from mlops.metrics import Interval
from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY
from mlops.storage import read_json
from mlops.tables import read_feature_table
from pipelines.lifecycle import RELEASE, Release
from training.checks import Check, not_judged
from training.dataset import Dataset
from training.gate import Verdict
from training.report import Report
from training.tasks import task_for

__all__ = ["Comparison", "Contender", "compare"]

CHAMPION = "champion"  # the name of the gate's check against it
SLICES = "slices"  # that of its check against it in each slice
LATENCY = "latency"  # that of its check of what a row takes


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """A model on its test events.

    Fields:
        report: the evaluation in its bundle.
        features: how many it asks for; `megabytes` is what its graph weighs.
        row_ms: what the gate measured that one row takes to score (99th percentile); None where nobody measured it.
        better: how much better than the champion in the headline figure; None of the champion, and where the test
            events are not the champion's.
        cheaper: what its decisions save on those events, in currency; None likewise, and where nothing has a cost.
        checks: the gate's, the one against the champion as it is judged here, that of slices left to the gate of the
            champion's home; none of the champion.
    """

    name: str
    digest: str
    report: Report
    features: int
    megabytes: float
    row_ms: float | None = None
    better: Interval | None = None
    cheaper: Interval | None = None
    checks: tuple[Check, ...] = ()

    @property
    def admitted(self) -> bool:
        """Whether the gate would promote it in the champion's place."""
        return all(check.passed is not False for check in self.checks)


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The champion, and the candidates, the best one first. `apart` says why nothing is paired, if nothing is."""

    use_case: str
    title: str
    champion: Contender
    candidates: tuple[Contender, ...]
    apart: str = ""


class _Model(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle with its evaluation and its scores of the test events."""

    bundle: Bundle
    report: Report
    tested: pa.Table

    def column(self, name: str) -> NDArray[Any]:
        values: NDArray[Any] = self.tested[name].to_numpy()
        return values


def compare(settings: Settings, base: Path) -> Comparison:
    """Hold the candidates of `settings.home` against the champion of the home `base`.

    Raises:
        InputError: nobody was promoted there, nothing went through the gate here, or a file is damaged.
        BundleError: a bundle is not what was signed.
    """
    use_case = use_case_of(settings)
    theirs = msgspec.structs.replace(settings, home=base.absolute())
    deployment = read_deployment(theirs.pointer)
    if deployment is None:
        raise InputError(
            "nobody was promoted there", where=base, todo="the gate has to admit a candidate: mlops run"
        )
    champion = _model(theirs, deployment.champion.digest)
    verdicts = read_json(settings.home / RELEASE, Release).verdicts.values()
    candidates = [(verdict, _model(settings, verdict.digest)) for verdict in verdicts]
    apart = next((why for _, model in candidates if (why := _apart(model, champion))), "")
    held = [_against(settings, use_case, verdict, model, champion, apart) for verdict, model in candidates]
    return Comparison(
        use_case=use_case.name,
        title=use_case.title,
        champion=_contender(champion, row_ms=_measured(theirs, deployment.champion.digest)),
        candidates=tuple(sorted(held, key=lambda one: -one.report.figures.rank)),
        apart=apart,
    )


def _measured(settings: Settings, digest: str) -> float | None:
    """What a row took a champion that the home's last training made."""
    path = settings.home / RELEASE
    verdicts = read_json(path, Release).verdicts.values() if path.exists() else ()
    return next((_row_ms(verdict) for verdict in verdicts if verdict.digest == digest), None)


def _row_ms(verdict: Verdict) -> float | None:
    return next((check.observed for check in verdict.checks if check.name == LATENCY), None)


def _model(settings: Settings, digest: str) -> _Model:
    for path in sorted(settings.bundles.glob("*/bundle")):
        bundle = open_bundle(path, public_key=settings.keys / PUBLIC_KEY)
        if bundle.digest == digest:
            scores = path.parent / "evaluation.parquet"
            if not scores.exists():
                raise InputError("no such file", where=scores, todo="train again")
            report = read_json(path / "evaluation.json", Report)
            return _Model(bundle=bundle, report=report, tested=pq.read_table(scores).sort_by("id"))
    raise InputError(
        f"holds no bundle with the digest {digest[:12]}",
        where=settings.bundles,
        todo="train again: mlops run",
    )


def _apart(model: _Model, champion: _Model) -> str:
    """Why the two were not tested on the same events; empty where they were."""
    ours, theirs = model.tested, champion.tested
    for name in ours.column_names:
        if name != "score" and name in theirs.column_names and not ours[name].equals(theirs[name]):
            return f"the test events are not the champion's, their column {name!r} differs"
    return ""


def _contender(model: _Model, **found: Any) -> Contender:
    manifest = model.bundle.manifest
    return Contender(
        name=manifest.candidate,
        digest=model.bundle.digest,
        report=model.report,
        features=len(model.bundle.features.names),
        megabytes=len(model.bundle.model) / 1e6,
        **found,
    )


def _against(
    settings: Settings, use_case: UseCase, verdict: Verdict, model: _Model, champion: _Model, apart: str
) -> Contender:
    gate = use_case.policy.gate
    if apart:
        judged = not_judged(CHAMPION, gate.champion_margin, apart)
        return _contender(model, checks=_judged(verdict, judged, use_case), row_ms=_row_ms(verdict))
    task, seed = task_for(use_case.task), model.report.facts.seed
    data, rows = _data(model, settings), np.arange(len(model.tested))
    labels, ours, other = model.column("label"), model.column("score"), champion.column("score")
    compared = task.compare(model.report.figures, labels, ours, other, data, rows, gate, seed=seed)
    return _contender(
        model,
        better=task.difference(labels, ours, other, data, rows, gate, seed=seed),
        cheaper=_saved(use_case, model, champion, seed),
        checks=_judged(verdict, compared.check, use_case),
        row_ms=_row_ms(verdict),
    )


def _judged(verdict: Verdict, check: Check, use_case: UseCase) -> tuple[Check, ...]:
    """The gate's checks with this one in place of that of the home's own champion.

    That of slices was against the home's own champion, too, if there was one.
    """
    left = "slices are left to the gate of the champion's home, as both models score one feature table there"
    there = {CHAMPION: check}
    return tuple(
        not_judged(SLICES, one.limit, left)
        if one.name == SLICES and use_case.slices
        else there.get(one.name, one)
        for one in verdict.checks
    )


def _data(model: _Model, settings: Settings) -> Dataset:
    """The test events as tasks ask for them, without features."""
    held = {name: model.column(name) for name in model.tested.column_names}
    return Dataset(
        ids=held["id"],
        time_us=held["event_time"].astype(np.int64) if "event_time" in held else None,
        day=held.get("day"),
        label=held["label"],
        features=np.empty((len(model.tested), 0), np.float32),
        names=(),
        card=held.get("card"),
        amount=held.get("amount"),
        table=read_feature_table(settings.features),
    )


def _saved(use_case: UseCase, model: _Model, champion: _Model, seed: int) -> Interval | None:
    """What the model's decisions cost less than the champion's, with a paired bootstrap interval by card and day."""
    costs, gate = use_case.policy.costs, use_case.policy.gate
    ours, theirs = model.bundle.decisions, champion.bundle.decisions
    if costs is None or ours is None or theirs is None:
        return None
    names = model.tested.column_names
    amount = model.column("amount") if "amount" in names else np.zeros(len(model.tested))

    def each(one: _Model, decisions: Decisions) -> NDArray[np.float64]:
        return metrics.event_costs(
            one.column("label"),
            one.column("score"),
            amount,
            costs,
            review_at=decisions.review_at,
            decline_at=decisions.decline_at,
        )

    saved = each(champion, theirs) - each(model, ours)
    by_card = {"day", "card"} <= set(names)
    cluster = metrics.clusters(*(model.column(name) for name in (("day", "card") if by_card else ("id",))))
    (found,) = metrics.bootstrap(
        [metrics.totals({"saved": saved}, cluster)],
        cluster,
        rounds=gate.bootstrap,
        confidence=gate.confidence,
        seed=seed,
    )
    return found["saved"]
