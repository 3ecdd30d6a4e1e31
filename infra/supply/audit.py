"""Known vulnerabilities of every locked package: looked up in OSV's database, with PyPA's pip-audit.

    .venv/bin/python -m infra.supply.audit

Ends with 1 if one is found that accepted.toml does not accept, or if a date in that file is past; with 3, saying NOT
RUN, where the database or pip-audit itself cannot be had.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from packaging.utils import canonicalize_name

from infra.supply.licences import LOCKS, ROOT, pins
from mlops.errors import InputError, MlopsError, SetupError

__all__ = ["ACCEPTED", "Accepted", "Found", "accepted", "known", "main", "overdue", "refused"]

ACCEPTED = Path(__file__).with_name("accepted.toml")
DATABASE = "https://api.osv.dev/v1/query"
SECONDS = 10
"""How long the database may take for one answer."""

# In an environment of its own, with what it shares with the project at the project's versions.
TOOL = (
    "-m",
    "uv",
    "tool",
    "run",
    "--quiet",
    "--constraints",
    "infra/lock/all.txt",
    "--from",
    "pip-audit==2.10.1",
)
Text = Annotated[str, msgspec.Meta(min_length=1)]


class Accepted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A vulnerability that is known and borne with until a day."""

    id: Text
    package: Text
    reason: Text
    until: datetime.date


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    accepted: tuple[Accepted, ...] = ()


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A vulnerability of a locked package; `ids` are its names, in several databases."""

    package: str
    version: str
    ids: tuple[str, ...]
    fixed: tuple[str, ...]

    def __str__(self) -> str:
        mended = f"mended in {', '.join(self.fixed)}" if self.fixed else "not mended yet"
        return f"{self.package} {self.version}: {', '.join(self.ids)}, {mended}"


def accepted(path: Path = ACCEPTED) -> tuple[Accepted, ...]:
    """What the file accepts.

    Raises:
        InputError: an entry lacks something, or has what an entry does not have.
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_File).accepted
    except msgspec.DecodeError as error:
        raise InputError(str(error), where=path, todo="an entry has id, package, reason, until") from None


def overdue(entries: Iterable[Accepted], today: datetime.date) -> list[Accepted]:
    """Those whose last day is past."""
    return [entry for entry in entries if entry.until < today]


def refused(found: Iterable[Found], entries: Sequence[Accepted]) -> list[Found]:
    """What no entry accepts, by the package and any of the vulnerability's names."""
    borne = {(canonicalize_name(entry.package), entry.id) for entry in entries}
    return [one for one in found if not any((one.package, name) in borne for name in one.ids)]


def known(database: str) -> list[Found]:
    """What the database knows of all that is locked, for whatever platform.

    Raises:
        SetupError: the database does not answer, or pip-audit cannot be fetched.
        MlopsError: pip-audit did not come to an end.
    """
    _answers(database)
    tool = [sys.executable, *TOOL, "pip-audit"]
    if subprocess.run([*tool, "--version"], cwd=ROOT, capture_output=True).returncode:
        raise SetupError("pip-audit cannot be fetched", todo="uv tool run says why")
    found: list[Found] = []
    for requirements in _by_version():
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("\n".join(requirements))
            file.flush()
            service = ["--vulnerability-service", "osv", "--osv-url", database, "--timeout", str(SECONDS)]
            plain = [
                "--disable-pip",
                "--no-deps",
                "--progress-spinner",
                "off",
                "--format",
                "json",
                "--desc",
                "off",
            ]
            line = [*tool, *service, *plain, "--requirement", file.name]
            done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
        try:
            packages = json.loads(done.stdout)["dependencies"]
        except ValueError:
            raise MlopsError(
                f"pip-audit ended with {done.returncode}: {done.stderr[-1000:].strip()}"
            ) from None
        found += [_found(package, each) for package in packages for each in package["vulns"]]
    return found


def _answers(database: str) -> None:
    """Ask once what needs no answer, as pip-audit itself takes a while to say that nobody is there."""
    query = json.dumps({"package": {"name": "pip", "ecosystem": "PyPI"}, "version": "0"}).encode()
    try:
        with urllib.request.urlopen(database, query, timeout=SECONDS) as answer:
            json.load(answer)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise SetupError(f"the database does not answer ({reason})", where=database) from None


def _by_version() -> list[list[str]]:
    """All pins, in lists that name no package twice, since what differs by platform has two versions."""
    lists: list[list[str]] = []
    seen: dict[str, int] = {}
    for name, version in sorted({pin for lock in LOCKS for pin in pins(lock)}):
        place = seen[name] = seen.get(name, -1) + 1
        if place == len(lists):
            lists.append([])
        lists[place].append(f"{name}=={version}")
    return lists


def _found(package: dict[str, Any], each: dict[str, Any]) -> Found:
    ids = (each["id"], *sorted(each["aliases"]))
    return Found(
        package=package["name"], version=package["version"], ids=ids, fixed=tuple(each["fix_versions"])
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was found, and return the code to end with."""
    parser = argparse.ArgumentParser(
        prog="audit", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--database", default=DATABASE, help="a service with OSV's API (%(default)s)")
    parser.add_argument("--accepted", type=Path, default=ACCEPTED, help="what is accepted, and until when")
    told = parser.parse_args(arguments)
    try:
        entries = accepted(told.accepted)
        late = overdue(entries, datetime.datetime.now(datetime.UTC).date())
        for entry in late:
            print(
                f"audit: {entry.id} of {entry.package} was accepted until {entry.until}: mend it, or say anew why not"
            )
        if late:
            return 1
        found = known(told.database)
    except SetupError as error:
        print(f"audit: NOT RUN: {error.line()}")
        return 3
    except MlopsError as error:
        print(f"audit: {error.line()}", file=sys.stderr)
        return 1
    wrong = refused(found, entries)
    for one in wrong:
        print(f"audit: {one}")
    packages = sum(map(len, _by_version()))
    print(
        f"audit: {packages} packages looked up, {len(found)} vulnerabilities, {len(found) - len(wrong)} accepted"
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
