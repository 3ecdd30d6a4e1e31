"""The pipeline image, built with Spark and without the frameworks, for time's sake: one step runs in it.

tests/prove/test_pipeline_image.py builds the whole.
"""

from __future__ import annotations

import re

import pytest
from docker.models.images import Image

from tests.system.containers import build, copied, engine, ran

pytestmark = [pytest.mark.system, pytest.mark.containers, pytest.mark.timeout(900)]

LARGE = {
    *("tensorflow-cpu", "tensorflow", "keras", "libclang", "xgboost-cpu", "xgboost", "sympy"),
    *("evidently", "plotly", "statsmodels", "faker", "matplotlib", "fonttools"),
}
WORLD = ["--set", "customers=50", "--set", "terminals=20", "--set", "days=30"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image of the same file, from what is left of the lock."""
    tree = copied(tmp_path_factory.mktemp("tree"))
    lock = tree / "infra" / "lock" / "pipeline.txt"
    entries = re.split(r"^(?=\S)", lock.read_text(), flags=re.MULTILINE)
    lock.write_text("".join(entry for entry in entries if entry.partition("==")[0] not in LARGE))
    (tree / "infra" / "lock" / "torch.txt").write_text("")
    return build(tree, "pipeline", "mlops-pipeline-spark")


def test_features_are_computed_on_spark_by_a_user_without_rights_on_a_root_that_cannot_be_written(
    image: Image,
) -> None:
    steps = f"mlops simulate {' '.join(WORLD)} /tmp/events; mlops ingest --events /tmp/events; mlops features --json"
    said = ran(image, ["sh", "-ec", f"id -u; {steps}; ! touch /opt/mlops/written"])
    assert said.splitlines()[0] == "10001"
    assert '"unlabelled":0' in said and "Traceback" not in said


def test_it_says_what_it_is_and_no_file_of_the_lock_s_making_is_left(image: Image) -> None:
    assert image.labels["org.opencontainers.image.title"] == "mlops-pipeline"
    assert image.labels["org.opencontainers.image.version"] == "0.1.0"
    found = ran(image, ["sh", "-c", "command -v uv pip gcc; ls /root/.cache /tmp/* 2>/dev/null; true"])
    assert not found.strip()
    assert engine().images.get(image.id).attrs["Config"]["User"] == "10001:10001"
