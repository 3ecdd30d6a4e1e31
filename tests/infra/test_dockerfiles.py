"""The container files: linted, and every base pinned by its digest."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCKER = Path(__file__).resolve().parents[2] / "infra" / "docker"
FILES = sorted(DOCKER.glob("*.Dockerfile"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_hadolint_has_nothing_to_say(file: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", file], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr


def test_every_image_stands_on_one_base_which_is_pinned_by_digest() -> None:
    bases = {re.findall(r"^ARG DEBIAN=(\S+)$", file.read_text(), re.MULTILINE)[0] for file in FILES}
    assert len(bases) == 1 and re.search(r"@sha256:[0-9a-f]{64}$", bases.pop())
    for file in FILES:
        assert set(re.findall(r"^FROM (\S+)", file.read_text(), re.MULTILINE)) <= {"${DEBIAN}", "scratch"}


def test_a_build_is_sent_what_the_images_are_made_of_and_nothing_else() -> None:
    lines = (DOCKER.parents[1] / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines and "**/.*" in lines
    copied = {
        word
        for file in FILES
        for line in re.findall(r"^COPY (?!--from)(.+)$", file.read_text(), re.MULTILINE)
        for word in line.split()[:-1]
    }
    assert {
        path for path in copied if not any(path == top or path.startswith(f"{top}/") for top in allowed)
    } == set()
