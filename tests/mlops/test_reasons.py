"""Reasons are the features that moved a score, in words; they come from the bundle alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from mlops.bundle import Bundle, Decisions, Golden, Schema, open_bundle, write_bundle
from mlops.errors import BundleError, InputError
from mlops.features import Calendar, Count, FeatureSet, Rolling, Value
from mlops.model import open_model
from mlops.reasons import ReasonCodes, choose_reference, reasons
from mlops.schema import Column, EventSchema, Label
from mlops.signing import PUBLIC_KEY, ensure_keys

FEATURES = FeatureSet(
    (
        Value(column="amount", unit="EUR", description="the amount"),
        Calendar(part="night", unit="0/1", description="until 06:59"),
        Rolling(key="card", agg=Count(), windows=("1d", "7d"), unit="payments"),
    )
)
EVENTS = EventSchema(
    id="id",
    time="at",
    columns=(
        Column(name="id", type="id"),
        Column(name="at", type="timestamp"),
        Column(name="card", type="id"),
        Column(name="amount", type="decimal", decimals=2),
        Column(name="cost", type="decimal", decimals=2),
    ),
)
WEIGHTS = [0.02, 1.5, 0.0, -0.25]
REFERENCE = [[20.0, 0.0, 1.0, 4.0], [40.0, 0.0, 2.0, 4.0]]


def graph(*, probability: bool) -> bytes:
    """weights · features, or the probability of which these are the log-odds."""
    nodes = [helper.make_node("MatMul", ["features", "weights"], ["sum" if probability else "score"])]
    if probability:
        nodes.append(helper.make_node("Sigmoid", ["sum"], ["score"]))
    made = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None])],
        [numpy_helper.from_array(np.array(WEIGHTS, np.float32), "weights")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


def score(rows: list[list[float]], *, probability: bool = True) -> list[float]:
    sums = np.array(rows) @ np.array(WEIGHTS)
    return list(map(float, 1 / (1 + np.exp(-sums)) if probability else sums))


def bundle(folder: Path, *, probability: bool = True, reference: list[list[float]] = REFERENCE) -> Bundle:
    ensure_keys(folder / "keys")
    label = Label(column="fraud" if probability else "cost")
    write_bundle(
        folder / "bundle",
        keys=folder / "keys",
        model=graph(probability=probability),
        features=FEATURES,
        schema=Schema(events=EVENTS, label=label),
        decisions=Decisions(review_at=0.25, decline_at=0.5),
        golden=Golden(features=REFERENCE, scores=score(REFERENCE, probability=probability)),
        reference=reference,
        card="",
        evaluation=b"{}",
        report="",
        manifest={"name": "small", "candidate": "a", "framework": "b", "created_at": "", "run_id": ""},
    )
    return open_bundle(folder / "bundle", public_key=folder / "keys" / PUBLIC_KEY)


def test_the_reasons_are_the_features_that_raised_the_score_in_their_own_words(tmp_path: Path) -> None:
    opened = bundle(tmp_path)
    found = reasons(opened, open_model(opened), np.array([180, 1, 9, 6], np.float32))
    assert [(reason.feature, reason.value) for reason in found] == [("amount", 180.0), ("is_night", 1.0)]
    amount, night = found
    assert amount.contribution > night.contribution > 0
    assert amount.text == (
        "the amount (amount) is 180 EUR, compared with 20 to 40 in the reference rows: "
        f"raises the score by {amount.contribution:.3g}"
    )
    assert night.text.startswith(
        "until 06:59 (is_night) is yes, compared with no in the reference rows: raises"
    )


def test_a_flag_is_never_compared_with_a_half(tmp_path: Path) -> None:
    opened = bundle(tmp_path, reference=[[20.0, 0.0, 1.0, 4.0], [20.0, 1.0, 2.0, 5.0]])
    row = np.array([20, 1, 1, 2], np.float32)
    texts = {reason.feature: reason.text for reason in reasons(opened, open_model(opened), row)}
    assert texts["is_night"].startswith(
        "until 06:59 (is_night) is yes, compared with no or yes in the reference rows: raises"
    )
    assert "is 2 payments, compared with 4 to 5 in the reference rows: raises" in texts["card_count_7d"]


def test_of_a_score_below_the_typical_they_are_what_lowered_it(tmp_path: Path) -> None:
    opened = bundle(tmp_path)
    (found,) = reasons(opened, open_model(opened), np.array([60, 0, 1, 14], np.float32))
    assert found.feature == "card_count_7d"
    assert found.contribution < 0
    assert found.text.startswith(
        "count by card in (t − 7d, t] is 14 payments, compared with 4 in the reference rows: lowers the score by"
    )


def test_a_quantity_has_reasons_in_its_own_unit(tmp_path: Path) -> None:
    opened = bundle(tmp_path, probability=False)
    row = np.array([530, 1, 9, 6], np.float32)
    found = reasons(opened, open_model(opened), row, top=4)
    assert [reason.feature for reason in found] == ["amount", "is_night"]
    assert [reason.contribution for reason in found] == pytest.approx([0.02 * 500, 1.5], abs=1e-5)


def test_there_are_as_many_as_asked_for_and_none_for_a_typical_row(tmp_path: Path) -> None:
    opened = bundle(tmp_path, reference=REFERENCE[:1])
    codes = ReasonCodes(opened, open_model(opened))
    assert len(codes(np.array([180, 1, 9, 1], np.float32), top=1)) == 1
    assert len(codes(np.array([180, 1, 9, 1], np.float32))) == 3
    assert codes(np.array(REFERENCE[0], np.float32)) == ()


def test_a_row_or_a_reference_of_another_width_is_refused(tmp_path: Path) -> None:
    opened = bundle(tmp_path)
    with pytest.raises(InputError, match=r"has the shape \(3,\), not \(4,\)"):
        reasons(opened, open_model(opened), np.zeros(3, np.float32))
    for reference in ([], [[1.0, 2.0]]):
        narrow = msgspec.structs.replace(opened, reference=reference)
        with pytest.raises(BundleError, match=r"reference\.json: rows must have 4 features"):
            ReasonCodes(narrow, open_model(opened))


def test_typical_rows_are_rows_that_there_are_one_of_each_part_by_score() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(1000, 3)).astype(np.float32)
    scores = rows[:, 0] + 10 * (random.random(1000) < 0.5).astype(np.float32)
    rows[:, 2] = 5.0
    chosen = choose_reference(rows, scores, 4)
    places = [int(np.flatnonzero((rows == row).all(axis=1))[0]) for row in chosen]
    assert [np.sum(scores < scores[place]) // 250 for place in places] == [0, 1, 2, 3]
    parts = np.array_split(np.argsort(scores), 4)
    for row, part in zip(chosen, parts, strict=True):
        assert np.abs(row - np.median(rows[part], axis=0)).max() < 0.5
    assert scores[places].mean() == pytest.approx(scores.mean(), abs=0.3)


def test_the_same_table_gives_the_same_typical_rows_in_any_order() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(200, 3)).astype(np.float32)
    scores, order = rows.sum(axis=1), random.permutation(200)
    assert (choose_reference(rows, scores, 3) == choose_reference(rows[order], scores[order], 3)).all()


def test_few_rows_are_all_typical_and_none_are_refused() -> None:
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert (choose_reference(rows, np.array([0.9, 0.1], np.float32), 5) == rows[::-1]).all()
    with pytest.raises(InputError, match="none to choose from"):
        choose_reference(rows[:0], np.zeros(0, np.float32))


def test_what_explains_loads_no_framework() -> None:
    code = "import json, sys, mlops.reasons; print(json.dumps(sorted({n.partition('.')[0] for n in sys.modules})))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not {"sklearn", "pandas", "scipy", "shap", "torch", "onnx"} & set(json.loads(ran.stdout))
