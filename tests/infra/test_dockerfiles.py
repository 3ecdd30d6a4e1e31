"""The container files: linted, and every base pinned by its digest."""

from __future__ import annotations

import hashlib
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from infra.supply.sbom import torch_digest
from tests.infra.programs import Programs

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "infra" / "docker"
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
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines and "**/.*" in lines
    texts = [file.read_text() for file in FILES]
    copied = {
        word
        for text in texts
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
        for word in line.split()[:-1]
    }
    copied |= {path for text in texts for path in re.findall(r"type=bind,source=(?!/)([^,]+)", text)}
    assert "infra/docker/debian" in copied
    assert {
        path for path in copied if not any(path == top or path.startswith(f"{top}/") for top in allowed)
    } == set()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_argument_that_a_build_is_given_or_asks_for_is_declared_where_it_is_used(file: Path) -> None:
    first, *stages = re.split(r"^(?=FROM )", file.read_text(), flags=re.MULTILINE)
    common = set(re.findall(r"^ARG (\w+)", first, re.MULTILINE))
    declared = [set(re.findall(r"^ARG (\w+)", stage, re.MULTILINE)) for stage in stages]
    for own, stage in zip(declared, stages, strict=True):
        head, _, body = stage.partition("\n")
        assert set(re.findall(r"\$\{?([A-Z]\w*)", head)) <= common
        body = re.sub(r"(?m)^#.*\n", "", body)
        inherited = {"PATH", "PWD"}
        assert set(re.findall(r"\$\{?([A-Z]\w*)", body)) <= own | inherited
    given = re.findall(r"^set .*--build-arg (\w+)=", (DOCKER / "build").read_text(), re.MULTILINE)
    assert given and set(given) <= declared[-1]
    assert all(re.search(rf"^ARG {name}=\S", file.read_text(), re.MULTILINE) for name in common)


@pytest.mark.system
def test_the_digest_that_the_pipeline_image_wants_of_torch_is_that_of_the_locked_wheel_for_the_cpu() -> None:
    """Of a wheel that lies here, else as PyTorch's own index tells it, which the image's build asks as well."""
    lock = ROOT / "infra" / "lock" / "torch.txt"
    places = [*os.environ.get("PIP_FIND_LINKS", "").split(), str(ROOT / "wheelhouse")]
    name = f"torch-{lock.read_text().strip().partition('==')[2]}+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"
    wheels = [path for place in places if (path := Path(place) / name).exists()]
    if wheels:
        with wheels[0].open("rb") as wheel:
            digests = {hashlib.file_digest(wheel, "sha256").hexdigest()}
    else:
        ask = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-deps", "--generate-hashes"]
        target = ["--torch-backend=cpu", "--python-version=3.11", "--python-platform=x86_64-manylinux_2_28"]
        done = subprocess.run([*ask, *target, lock], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        digests = set(re.findall(r"--hash=sha256:(\w{64})", done.stdout))
    assert torch_digest() in digests


@pytest.mark.parametrize("driver", ["docker", "docker-container", "remote"])
def test_files_times_are_set_where_docker_s_builder_can_and_else_it_is_said_what_is_lost(
    driver: str, tmp_path: Path
) -> None:
    programs = Programs(tmp_path)
    programs.add("docker", f'[ "$2" != inspect ] || printf "%s\\n" "Name:   b" "Driver:   {driver}" "Nodes:"')
    ran = programs.run([DOCKER / "build", "serving"], ROOT, CONTAINER_ENGINE="docker", IMAGE="here/it:1")
    assert ran.returncode == 0, ran.stderr
    (built,) = [call for call in programs.calls if call.startswith("docker buildx build ")]
    words = built.split()
    output = words[words.index("--output") + 1]
    assert output.removesuffix(",rewrite-timestamp=true") == "type=docker,name=here/it:1"
    assert output.endswith("rewrite-timestamp=true") == (driver != "docker")
    assert ("BUILDX_BUILDER" in ran.stderr) == (driver == "docker")


def test_what_is_told_of_the_base_is_true_of_the_one_that_a_build_names(tmp_path: Path) -> None:
    def told(*options: str, **environment: str) -> dict[str, str]:
        """The labels, as an engine that only writes its arguments down is given them."""
        (tmp_path / "podman").write_text(
            '#!/bin/sh\n[ "$1" != build ] || printf "%s\\n" "$@" >"$TOLD"\nexit 1\n'
        )
        (tmp_path / "podman").chmod(0o755)
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        known = {"PATH": path, "TOLD": str(tmp_path / "told"), "CONTAINER_ENGINE": "podman"}
        subprocess.run([DOCKER / "build", "serving", *options], env=os.environ | known | environment)
        labels = re.findall(
            r"^--label=org\.opencontainers\.image\.([\w.]+)=(.+)$", (tmp_path / "told").read_text(), re.M
        )
        return dict(labels)

    usual = told(SOURCE_DATE_EPOCH="86400")
    assert usual["base.name"] == "docker.io/library/debian:bookworm-slim"
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", usual["base.digest"])
    assert usual["created"] == "1970-01-02T00:00:00Z" and "source" not in usual
    other = told("--build-arg", "DEBIAN=example.com/debian:12", SOURCE="https://example.com/code")
    assert other["base.name"] == "example.com/debian:12" and "base.digest" not in other
    assert other["source"] == "https://example.com/code"
    other = told("--build-arg=DEBIAN=example.com/debian@sha256:00")
    assert (other["base.name"], other["base.digest"]) == ("example.com/debian", "sha256:00")


def test_a_worker_that_reads_the_command_s_file_does_not_run_the_command() -> None:
    """As multiprocessing has each worker of a training do."""
    assert "main" in runpy.run_path(str(ROOT / "infra" / "docker" / "mlops"), run_name="__mp_main__")
