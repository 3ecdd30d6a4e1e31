"""infra/vertex/deploy.py explains and refuses options in words, with or without Google's client."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.serving.example import ROOT

IMAGE = "registry/fraud@sha256:0"


def ran(*options: str, store: str = "") -> subprocess.CompletedProcess[str]:
    """The script, by a Python that has the standard library alone."""
    return subprocess.run(
        [sys.executable, "-S", ROOT / "infra" / "vertex" / "deploy.py", *options],
        env=os.environ | {"MLOPS_STORE": store},
        capture_output=True,
        text=True,
        timeout=60,
    )


def given(*options: str, image: str = IMAGE) -> tuple[str, ...]:
    return ("--project", "p", "--location", "europe-west4", "--image", image, *options)


def test_the_help_needs_no_client() -> None:
    helped = ran("--help")
    assert helped.returncode == 0 and "--replicas" in helped.stdout


def test_without_the_client_one_line_says_what_to_install() -> None:
    refused = ran(*given("--print"))
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert "google-cloud-aiplatform" in line


@pytest.mark.parametrize(
    ("options", "store", "said"),
    [
        (given("--replicas", "0"), "", "--replicas: must be 1 or more"),
        (given("--replicas", "-2"), "rediss://r:6379", "--replicas: must be 1 or more"),
        (given("--replicas", "8"), "", "--replicas 8: each would count only"),
        (given(), "/tmp/x", "$MLOPS_STORE is no Redis"),
        (given(image="registry/fraud:1"), "", "--image: names no digest"),
    ],
)
def test_what_cannot_be_deployed_is_refused(options: tuple[str, ...], store: str, said: str) -> None:
    refused = ran(*options, store=store)
    assert refused.returncode == 2 and said in refused.stderr and "Traceback" not in refused.stderr
