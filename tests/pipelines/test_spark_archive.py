"""Spark takes its classes from an archive; without one, with a damaged one or another Java's it starts as well."""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from pipelines import java
from pipelines.spark import archive_options
from pipelines.spark_archive import main

ROOT = Path(__file__).parents[2]


def run_java(*words: str) -> subprocess.CompletedProcess[str]:
    program = Path(java.spark_environment()["JAVA_HOME"]) / "bin" / "java"
    return subprocess.run([str(program), *words], capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where an archive would lie; none is there yet."""
    folder = java.class_archive_stem().parent
    (tmp_path / "bin").symlink_to(folder / "bin")
    found, _ = java._java()
    monkeypatch.setattr(java, "_java", lambda: (found, tmp_path))
    return tmp_path


def write(content: bytes) -> Path:
    """What passes for a whole archive."""
    stem = java.class_archive_stem()
    stem.with_suffix(".base.jsa").write_bytes(content)
    archive = Path(f"{stem}-{2 * len(content)}.jsa")
    archive.write_bytes(content)
    return archive


@pytest.mark.timeout(600)  # where no archive has been made yet, on a machine that has much else to do
def test_spark_s_classes_come_from_the_archive(spark: SparkSession) -> None:
    # A process of its own, lest it stops the session here; with the Java of the session.
    env = os.environ | {"JAVA_HOME": str(java._java()[0].home)}
    command = [sys.executable, "-m", "pipelines.spark_archive"]
    made = subprocess.run(command, capture_output=True, cwd=ROOT, env=env)
    assert (made.returncode, made.stderr) == (0, b"")
    assert spark._jvm is not None
    path = str(spark._jvm.java.lang.System.getProperty("java.class.path"))
    flag, _ = shlex.split(archive_options())
    ran = run_java(flag, "-Xlog:class+load", "-cp", path, "org.apache.spark.deploy.SparkSubmit", "--version")
    assert ran.returncode == 0, ran.stderr
    classes = [line for line in ran.stdout.splitlines() if " org.apache.spark." in line]
    loaded = [line for line in classes if "$$Lambda" not in line]  # those are made, not loaded
    assert len(loaded) > 100
    assert all(line.endswith(" source: shared objects file (top)") for line in loaded)


def test_where_there_is_no_archive_java_is_asked_for_nothing(folder: Path) -> None:
    assert archive_options() == ""


def test_an_archive_of_which_a_part_is_missing_is_not_used(folder: Path) -> None:
    archive = write(b"classes" * 1000)
    base = java.class_archive_stem().with_suffix(".base.jsa")
    assert java.class_archive() == archive and archive.parent == folder
    for file in (archive, base):
        whole = file.read_bytes()
        file.write_bytes(whole[:-1])
        assert java.class_archive() is None
        file.write_bytes(whole)
    base.unlink()
    assert java.class_archive() is None


def test_what_is_no_archive_java_passes_over_without_a_word(folder: Path) -> None:
    write(b"garbage" * 10_000)
    flags = shlex.split(archive_options())
    ran, usual = run_java(*flags, "-version"), run_java("-version")
    assert len(flags) == 2
    assert (ran.returncode, ran.stdout) == (0, "")
    assert ran.stderr == usual.stderr.replace(", sharing", "")


def test_another_spark_and_another_java_have_another_archive(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write(b"classes")
    with monkeypatch.context() as patch:
        patch.setattr(importlib.metadata, "version", lambda name: "9.9.9")
        assert java.class_archive() is None
    assert java.class_archive() == archive
    found, _ = java._java()
    monkeypatch.setattr(java, "_java", lambda: (found._replace(home=Path("/another")), folder))
    assert java.class_archive() is None


def test_making_it_again_makes_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    archive = write(b"classes")
    main()
    assert archive.read_bytes() == b"classes"
    assert capfd.readouterr() == ("", "")


def test_where_it_cannot_be_written_that_is_said_in_a_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = folder / "file"
    file.write_text("which not even root can put anything into")
    found, _ = java._java()
    monkeypatch.setattr(java, "_java", lambda: (found, file / "java"))
    main()
    said, told = capfd.readouterr()
    assert (said, told.count("\n")) == ("", 1)
    assert told.startswith(f"{file / 'java'}: no archive of Spark's classes: ")
