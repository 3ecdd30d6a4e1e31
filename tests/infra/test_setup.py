"""What a newcomer meets before anything is installed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = re.findall(r"^\.PHONY:(.*)$", MAKEFILE, re.MULTILINE)[0].split()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The part of the tree that setup reads, without an environment."""
    for name in ("infra", "pipelines", "mlops"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def _program(path: Path, script: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def tools(tree: Path) -> Path:
    """A PATH with what a system has, but no Python, no Java, and a shim that does not start."""
    folder = tree / "tools"
    folder.mkdir()
    for name in (
        "awk",
        "cat",
        "cksum",
        "dirname",
        "env",
        "find",
        "flock",
        "grep",
        "make",
        "mkdir",
        "rm",
        "sh",
        "tr",
    ):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    _program(folder / "python3.13", 'echo "python3.13: command not found" >&2; exit 127')
    return folder


def _run(tree: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=tree, env={"PATH": str(tree / "tools"), **env}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


def test_help_lists_every_target_with_a_line_each(tree: Path, tools: Path) -> None:
    ran = _run(tree, "make")
    assert ran.returncode == 0, ran.stderr
    listed = {line.split()[1]: line.split(maxsplit=2)[2] for line in ran.stdout.splitlines()}
    assert sorted(listed) == sorted(TARGETS)
    assert all(len(text) > 10 for text in listed.values())
    assert not (tree / ".venv").exists()


def test_the_makefile_needs_no_newer_make_than_macos_ships() -> None:
    assert not re.findall(r"^\.ONESHELL|&:|\$\(file |^\S+\s*!=|\$\(let |^undefine", MAKEFILE, re.MULTILINE)


def test_without_a_suitable_python_setup_says_so_in_one_line(tree: Path, tools: Path) -> None:
    ran = _run(tree, "infra/setup")
    assert ran.returncode == 1
    assert ran.stderr.startswith("setup: no Python 3.11, 3.12 or 3.13 found; install one")
    assert len(ran.stderr.splitlines()) == 1
    assert not (tree / ".venv").exists()


def test_a_python_that_is_named_but_does_not_start_is_not_replaced_by_another(
    tree: Path, tools: Path
) -> None:
    (tools / "python3").symlink_to(sys.executable)
    ran = _run(tree, "infra/setup", PYTHON="python3.13")
    assert ran.returncode == 1
    assert "PYTHON=python3.13 does not start" in ran.stderr


def test_a_python_without_venv_is_passed_over_and_named_if_there_is_no_other(tree: Path, tools: Path) -> None:
    script = f'case "$2" in *ensurepip*) exit 1;; esac; exec {shlex.quote(sys.executable)} "$@"'
    _program(tools / "python3.12", script)
    ran = _run(tree, "infra/setup")
    assert ran.returncode == 1
    assert "python3.12 has no venv or ensurepip module" in ran.stderr
    assert "apt-get install python3-venv" in ran.stderr


@pytest.mark.parametrize("state", ["interrupted", "moved", "interpreter gone"])
def test_what_cannot_be_mended_is_made_anew(state: str, tree: Path, tools: Path) -> None:
    venv = tree / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "activate").write_text(f"VIRTUAL_ENV={'/elsewhere' if state == 'moved' else tree}/.venv")
    target = "/nowhere/python3" if state == "interpreter gone" else sys.executable
    (venv / "bin" / "python").symlink_to(target)
    if state == "interrupted":
        (venv / ".unfinished").touch()
    ran = _run(tree, "infra/setup")
    assert "making it anew" in ran.stdout
    assert not venv.exists()  # no Python to make the new one with


@pytest.mark.parametrize("asked", ["3.11", "3.12", "3.13"])
def test_an_environment_of_another_python_than_is_asked_for_is_made_anew(
    asked: str, tree: Path, tools: Path
) -> None:
    # It says that it is of the version that is asked for, and can make no environment.
    claim = f"import sys; sys.version_info = (*{tuple(map(int, asked.split('.')))}, 0); exec(sys.argv[1])"
    python = _program(
        tools / "python",
        f"""[ "$1" = -c ] || exit 1; exec {shlex.quote(sys.executable)} -c '{claim}' "$2" """,
    )
    venv = tree / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "activate").write_text(f"VIRTUAL_ENV={tree}/.venv")
    (venv / "bin" / "python").symlink_to(sys.executable)
    digest = re.findall(r"^digest=\$\((.*)\)$", (tree / "infra" / "setup").read_text(), re.MULTILINE)[0]
    stamp = venv / f".ready-{_run(tree, 'sh', '-c', digest).stdout.strip()}"
    stamp.write_text("cpu\n")
    assert _run(tree, "infra/setup").stdout == ""
    ran = _run(tree, "infra/setup", PYTHON=str(python))
    here = "{}.{}".format(*sys.version_info[:2])
    if asked == here:
        assert (ran.returncode, ran.stdout, stamp.exists()) == (0, "", True)
    else:
        assert f".venv has Python {here}, PYTHON={python} is {asked}; making it anew" in ran.stdout
        assert not stamp.exists()


def test_an_old_wheelhouse_is_named_as_the_reason(tree: Path, tools: Path) -> None:
    (tools / "python3.11").symlink_to(sys._base_executable)  # type: ignore[attr-defined]
    (tree / "wheelhouse").mkdir()
    ran = _run(tree, "infra/setup", PATH=f"{tools}:{os.environ['PATH']}")
    assert ran.returncode == 1
    assert "the wheelhouse wheelhouse does not fit infra/lock" in ran.stderr
    assert (tree / ".venv" / ".unfinished").exists()


def test_doctor_answers_before_anything_is_installed(tree: Path, tools: Path) -> None:
    # -S: without any installed package.
    _program(tools / "python3", f'exec {shlex.quote(sys._base_executable)} -S "$@"')  # type: ignore[attr-defined]
    ran = _run(tree, "make", "doctor")
    lines = {line.split()[1]: line for line in ran.stdout.splitlines()}
    assert list(lines) == ["python", "java", "memory", "disk", "ports", "wheelhouse", "torch", "chromium"]
    assert "`make setup` brings one" in lines["java"]
    assert lines["torch"].startswith("missing")
    assert "Traceback" not in ran.stderr


def test_clean_leaves_what_git_tracks_and_the_wheelhouse(tree: Path, tools: Path) -> None:
    before = sorted(path.relative_to(tree) for path in tree.rglob("*"))
    (tree / "wheelhouse").mkdir()
    for name in (".venv/bin", "runs/demo", "mlops/__pycache__", ".mypy_cache", ".pytest_cache"):
        (tree / name).mkdir(parents=True)
        (tree / name / "file").touch()
    ran = _run(tree, "make", "clean")
    assert ran.returncode == 0, ran.stderr
    assert "kept wheelhouse/" in ran.stdout
    (tree / "wheelhouse").rmdir()
    assert sorted(path.relative_to(tree) for path in tree.rglob("*")) == before


@pytest.mark.parametrize("script", ["setup", "compile-locks", "wheelhouse", "system-packages", "../.ci/run"])
def test_a_script_parses_and_can_be_executed(script: str) -> None:
    path = ROOT / "infra" / script
    shell = path.read_text().splitlines()[0].removeprefix("#!").split()
    assert subprocess.run([*shell, "-n", str(path)], check=False).returncode == 0
    assert os.access(path, os.X_OK)
