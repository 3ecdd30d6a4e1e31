"""Writes features.md from the declarations themselves: `python docs/features.py`."""

from __future__ import annotations

from pathlib import Path

from mlops import features
from mlops.contract import load_use_case
from mlops.features import FeatureSet
from mlops.wording import definitions

__all__ = ["USE_CASES", "render"]

HERE = Path(__file__).parent
USE_CASES = ("usecases.fraud", "usecases.breast_cancer")
KINDS = ("Value", "Missing", "OneHot", "Calendar", "Ratio", "Rolling", "Last")
AGGREGATES = ("Count", "Sum", "Mean", "Rate", "Min", "Max", "Distinct", "SinceFirst", "SinceLast")

HEAD = """# Features

A feature is declared once, as data. Spark computes it over history, the online store for the event in hand, and both
give the same value to the last bit. What follows is written by `.venv/bin/python docs/features.py` from the
declarations; the exact semantics (borders, ties, missing values, late events) stand at the top of
[mlops/features.py](../mlops/features.py).

    Rolling(key="customer_id", agg=Mean(column="amount"), windows=("1d", "7d", "30d"))
    Rolling(key="terminal_id", agg=Rate(column="is_fraud"), windows=("30d",), delay="7d")
    Rolling(key="terminal_id", agg=SinceFirst(), windows=("28d",), delay="7d",
            where=Where(column="is_fraud", equals=True))
    Last(key="customer_id", fields=("amount", "event_time"), n=16)

A declaration that would know the label before it is due is refused; values that know the future, whoever computed them,
are found by `mlops features --check`. Where a value comes from is shown by `mlops features --explain EVENT_ID`, for an
event of the event table: each feature, its window, the events that entered it, and the value in the event table, the
feature table, the online store and the decision log. What was served and not yet ingested is in the decision log only.

`mlops features` brings the table up to date: a new day computes that day, a late event or label the days that its
windows reach, a second call nothing. `mlops features --full` computes all of it with Spark.
"""


def render() -> str:
    """The page."""
    parts = [HEAD, _kinds("Kinds", KINDS), _kinds("Aggregates of `Rolling`", AGGREGATES)]
    for package in USE_CASES:
        use_case = load_use_case(package)
        parts.append(f"## {use_case.title} (`{package}`)\n\n{_table(use_case.features)}")
    return "\n".join(parts)


def _kinds(title: str, names: tuple[str, ...]) -> str:
    rows = [f"| `{name}` | {_first_sentence(getattr(features, name).__doc__)} |" for name in names]
    return "\n".join([f"## {title}", "", "| kind | what it is |", "|---|---|", *rows, ""])


def _first_sentence(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split())


def _table(declared: FeatureSet) -> str:
    words = definitions(declared)
    rows = [f"| `{name}` | {unit} | {words[name]} | {text} |" for name, unit, text in declared.describe()]
    return "\n".join(["| feature | unit | computed as | what it says |", "|---|---|---|---|", *rows, ""])


if __name__ == "__main__":
    (HERE / "features.md").write_text(render(), encoding="utf-8")
