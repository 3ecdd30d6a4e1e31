"""Tumours of the breast, malignant or benign, from ten measures of their cells: a table without times or keys.

The data are Wolberg, Street and Mangasarian's, *Breast Cancer Wisconsin (Diagnostic)*, 1995, from scikit-learn.
"""

from __future__ import annotations

from pathlib import Path

from mlops.contract import Candidate, UseCase
from mlops.features import FeatureSet, Value
from mlops.policy import Policy
from mlops.schema import Column, EventSchema, Label

__all__ = ["USE_CASE", "write_source"]

MEASURES = {
    "radius": "distance from the centre to the edge",
    "texture": "deviation of grey values",
    "perimeter": "length of the edge",
    "area": "area within the edge",
    "smoothness": "local variation of the radius",
    "compactness": "perimeter² / area − 1",
    "concavity": "depth of concave parts",
    "concave_points": "number of concave parts",
    "symmetry": "difference of the two halves",
    "fractal_dimension": "coastline approximation − 1",
}
OF_ALL_CELLS = {"mean": "mean", "error": "standard error", "worst": "mean of the three largest"}
INPUTS = {
    f"{statistic}_{measure}": f"{words}: {text}"
    for statistic, words in OF_ALL_CELLS.items()
    for measure, text in MEASURES.items()
}

USE_CASE = UseCase(
    name="breast-cancer",
    title="Malignant tumours of the breast",
    events=EventSchema(
        id="tumour",
        numbered=True,  # the table has no ids
        columns=(
            Column(name="tumour", type="id"),
            *(Column(name=name, type="float", minimum=0, description=text) for name, text in INPUTS.items()),
            Column(name="is_malignant", type="boolean", nullable=True, description="the diagnosis"),
        ),
    ),
    label=Label(column="is_malignant", positive="malignant tumour"),
    features=FeatureSet(tuple(Value(column=name, description=text) for name, text in INPUTS.items())),
    candidates=(
        Candidate(name="linear", framework="scikit-learn", builder="training.builders:logistic_regression"),
        Candidate(name="trees", framework="scikit-learn", builder="training.builders:boosted_classifier"),
    ),
    policy=Policy.from_yaml(Path(__file__).with_name("policy.yaml")),
    source="usecases.breast_cancer:write_source",
)


def write_source(folder: Path) -> int:
    """Write scikit-learn's table as Parquet into `folder`; return its rows. Its class 0 is malignant."""
    from sklearn.datasets import load_breast_cancer

    table, benign = load_breast_cancer(return_X_y=True, as_frame=True)
    table.columns = list(INPUTS)
    folder.mkdir(parents=True, exist_ok=True)
    table.assign(is_malignant=benign == 0).to_parquet(folder / "tumours.parquet", index=False)
    return len(table)
