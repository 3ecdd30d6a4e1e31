"""What a run is to train is determined once, and a training is known by all that it follows from."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlops.contract import load_use_case
from mlops.errors import ConfigError
from mlops.settings import Settings
from mlops.tables import FeatureTable, write_table_meta
from monitoring.results import RetrainRequest
from monitoring.rules import close_request, open_request, request_retrain
from pipelines import training_plan
from pipelines.prefect_results import JsonResults
from pipelines.training_plan import plan

FRAUD = load_use_case("usecases.fraud")


def _table(folder: Path, fingerprint: str) -> Path:
    meta = FeatureTable(
        rows=1,
        unlabelled=0,
        features=FRAUD.features,
        events=("0",),
        whole_number_ids=(),
        fingerprint=fingerprint,
    )
    folder.mkdir(exist_ok=True)
    write_table_meta(folder, meta)
    return folder


def test_a_training_is_known_by_all_that_it_follows_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(candidate: str = "logistic-regression", **changes: Any) -> str:
        asked = {"train_from": date(2018, 4, 10), "table": _table(tmp_path / "features", "a"), **changes}
        return plan(settings, only=[candidate], **asked).keys[candidate]

    settings = Settings(home=tmp_path, tracking_uri="postgresql://ml:one@db/mlflow")
    first = key()
    for elsewhere in ({"home": tmp_path / "home"}, {"tracking_uri": ""}):
        settings = msgspec.structs.replace(settings, **elsewhere)
        assert key() != first
    # Of the settings the rest changes nothing, a new password neither.
    settings = Settings(
        home=tmp_path, tracking_uri="postgresql://ml:two@db/mlflow", user="x", spark_memory="9g"
    )
    assert first == key() == key(table=_table(tmp_path / "elsewhere", "a"))
    changed = [
        key(seed=1),
        key(effort="full"),
        key(train_from=date(2018, 4, 11)),
        key(candidate="watchful-trees"),
        key(table=_table(tmp_path / "other", "b")),
    ]
    gate = msgspec.structs.replace(FRAUD.policy.gate, parity_rows=7)
    policy = msgspec.structs.replace(FRAUD.policy, gate=gate)
    candidates = tuple(
        msgspec.structs.replace(one, params={**one.params, "C": 1e-4}) for one in FRAUD.candidates
    )
    for other in (
        msgspec.structs.replace(FRAUD, policy=policy),
        msgspec.structs.replace(FRAUD, candidates=candidates),
    ):
        monkeypatch.setattr(training_plan, "use_case_of", lambda _, other=other: other)
        changed.append(key())
        monkeypatch.undo()
    monkeypatch.setattr(training_plan, "code_digest", lambda *_: "other code")
    changed.append(key())
    assert len({first, *changed}) == len(changed) + 1


def test_a_plan_names_the_day_the_table_and_the_candidates_and_can_be_kept(tmp_path: Path) -> None:
    planned = plan(
        Settings(home=tmp_path), train_from=date(2018, 4, 10), table=_table(tmp_path / "features", "a")
    )
    assert (planned.day, planned.fingerprint) == (date(2018, 4, 10), "a")
    assert set(planned.keys) == {one.name for one in FRAUD.candidates if one.effort == "quick"}
    assert JsonResults().loads(JsonResults().dumps(planned)) == planned
    with pytest.raises(ConfigError, match="no-such"):
        plan(Settings(home=tmp_path), only=["no-such"], train_from=planned.day)


def test_only_the_request_that_was_acted_on_is_closed(tmp_path: Path) -> None:
    acted = RetrainRequest(
        reason="worse",
        evidence={},
        requested_on="2018-07-01",
        train_from="2018-06-01",
        not_before="2018-07-09",
    )
    request_retrain(tmp_path, acted)
    close_request(tmp_path, acted)
    assert open_request(tmp_path) is None
    newer = request_retrain(tmp_path, msgspec.structs.replace(acted, requested_on="2018-07-15"))
    close_request(tmp_path, acted)
    assert open_request(tmp_path) == newer
