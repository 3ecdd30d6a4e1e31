"""The whole pipeline image: what it is to hold starts in it, without rights and on a root that cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.supply.sbom import sbom
from tests.system.containers import build, copied, ran, scratch
from tests.system.image_files import installed

pytestmark = [pytest.mark.prove, pytest.mark.timeout(3600)]

MOST_BYTES = 6e9
FRAMEWORKS = "import evidently, keras, mlflow, prefect, psycopg, sklearn, tensorflow, torch, xgboost; print('imported')"


def test_every_framework_and_spark_start_in_it(tmp_path: Path) -> None:
    image = build(copied(tmp_path), "pipeline", "mlops-pipeline")
    assert image.attrs["Size"] <= MOST_BYTES
    named = {f"{part['name']} {part['version']}" for part in sbom("pipeline")["components"]}
    assert "torch 2.13.0+cpu" in named and installed(image) == named
    assert "imported" in ran(image, ["python3", "-c", FRAMEWORKS])
    steps = "mlops simulate --set customers=50 --set days=30 /tmp/events; mlops ingest --events /tmp/events"
    assert '"unlabelled":0' in ran(image, ["sh", "-ec", f"{steps}; mlops features --json"], tmpfs=scratch())
