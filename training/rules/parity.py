"""The graph that will be served says what the model says that was trained."""

from __future__ import annotations

from training.checks import Check, at_most
from training.evidence import Evidence

__all__ = ["parity"]


def parity(evidence: Evidence) -> list[Check]:
    """The largest difference over a fresh sample: see `training.parity`."""
    result, limit = evidence.result, evidence.gate.parity_tolerance
    fact = (
        f"scores of the ONNX graph at most {result.onnx_max_abs_diff:.1e} from the original's over "
        f"{result.onnx_rows:,} rows"
    )
    return [at_most("onnx_parity", result.onnx_max_abs_diff, limit, fact, f"at most {limit:.1e}")]
