from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper

from mlops.bundle import Bundle, Decisions, Golden, Schema, open_bundle, write_bundle
from mlops.errors import InputError
from mlops.features import Calendar, FeatureSet, Value
from mlops.signing import PUBLIC_KEY, ensure_keys
from monitoring.counterfactual import rescore
from tests.monitoring.example import USE_CASE, payments


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A model that scores amount / 200, whatever the hour."""
    weights = numpy_helper.from_array(np.array([1 / 200, 0], np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "weights"], ["score"])],
        "amount",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    ensure_keys(tmp_path / "keys")
    write_bundle(
        tmp_path / "bundle",
        keys=tmp_path / "keys",
        model=model.SerializeToString(),
        features=FeatureSet((Value(column="amount"), Calendar(part="night"))),
        schema=Schema(events=USE_CASE.events, label=USE_CASE.label),
        decisions=Decisions(review_at=0.25, decline_at=0.5),
        golden=Golden(features=[[100.0, 0.0]], scores=[0.5]),
        reference=[[10.0, 0.0]],
        card="",
        evaluation=b"{}",
        report="",
        manifest={
            "name": "fraud",
            "candidate": "amount",
            "framework": "scikit-learn",
            "created_at": "2018-06-01",
            "run_id": "",
        },
    )
    return open_bundle(tmp_path / "bundle", public_key=tmp_path / "keys" / PUBLIC_KEY)


def _served() -> pa.Table:
    table = payments(10, 10, skill=lambda day: 3.0)[0]
    return table.append_column("is_night", pa.array(np.zeros(len(table))))


def test_scores_and_decides_as_the_other_model_would_have(bundle: Bundle) -> None:
    served = _served()
    found = rescore(served, bundle, version="7")
    amounts = served["amount"].to_numpy()
    np.testing.assert_allclose(found["score"].to_numpy(), amounts / 200, rtol=1e-6)
    for amount, decision in zip(amounts, found["decision"].to_pylist(), strict=True):
        expected = "decline" if amount > 100.01 else "review" if 50.01 < amount < 99.99 else None
        expected = "approve" if amount < 49.99 else expected
        assert expected is None or decision == expected
    assert set(found["version"].to_pylist()) == {"7"}


def test_leaves_everything_else_as_it_was_served(bundle: Bundle) -> None:
    served = _served()
    found = rescore(served, bundle, version="7")
    changed = ["score", "decision", "version"]
    assert found.column_names == served.column_names
    assert found.drop_columns(changed).equals(served.drop_columns(changed))


def test_names_a_feature_that_was_not_served(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="served events: has no column is_night"):
        rescore(_served().drop_columns("is_night"), bundle, version="7")
