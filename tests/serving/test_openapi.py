"""The OpenAPI document: it is one, it says what the service has, and the service takes what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from msgspec.structs import replace
from openapi_spec_validator import OpenAPIV31SpecValidator

from mlops.bundle import Bundle, Schema, open_bundle
from mlops.contract import load_use_case
from mlops.errors import InputError
from mlops.features import FeatureSet, Value
from mlops.signing import PUBLIC_KEY
from serving.app import ROUTES
from serving.events import EventReader
from serving.openapi import document
from tests.serving.example import FEATURES, NUMBERS, ROOT, TEXTS, Server, World
from tests.serving.test_plain import FEATURES as AREA
from tests.serving.test_plain import LET, RENT

FRAUD = load_use_case("usecases.fraud")
PAYMENTS = Schema(events=FRAUD.events, label=FRAUD.label)
SCHEMAS: dict[str, tuple[Schema, FeatureSet]] = {
    "whole-number ids": (NUMBERS, FEATURES),
    "text ids": (TEXTS, FEATURES),
    "the fraud use case": (PAYMENTS, FeatureSet((Value(column="amount"),))),
    "a quantity, numbered": (RENT, AREA),
    "classes without decisions": (LET, AREA),
}
BIG = 2**63


@pytest.fixture(params=SCHEMAS)
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Bundle:
    return _bundle(tmp_path, request.param)


def _bundle(folder: Path, name: str) -> Bundle:
    schema, features = SCHEMAS[name]
    world = World(folder)
    decides = {} if features is not AREA else {"decisions": None}
    path, _ = world.bundle(schema=schema, features=features, **decides)
    return open_bundle(path, public_key=world.keys / PUBLIC_KEY)


def described(bundle: Bundle | None = None) -> dict[str, Any]:
    limits = {
        "max_events": 100,
        "max_labels": 1000,
        "max_rows": 1000,
        "max_reasons": 10,
        "max_body_bytes": 2**23,
    }
    return document(bundle, "3" if bundle else "", **limits)


def _validator(document: dict[str, Any], name: str) -> jsonschema.Draft202012Validator:
    """Of a named schema, in the place where its references lead somewhere."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return jsonschema.Draft202012Validator(schema)


def _contents(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every described body, of requests and of answers, and where it is."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            for content in operation.get("requestBody", {}).get("content", {}).values():
                yield f"{where}, body", content
            for status, response in operation["responses"].items():
                if "$ref" in response:
                    response = document["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
                for content in response.get("content", {}).values():
                    yield f"{where}, {status}", content


def test_it_is_an_openapi_document(bundle: Bundle) -> None:
    OpenAPIV31SpecValidator(described(bundle)).validate()


def test_it_is_one_before_a_model_is_deployed() -> None:
    generic = described()
    OpenAPIV31SpecValidator(generic).validate()
    assert set(generic["paths"]) == {route.path for route in ROUTES}
    assert "properties" not in generic["components"]["schemas"]["Event"]


def test_a_stranger_s_is_one_that_names_neither_model_nor_version(bundle: Bundle) -> None:
    other = replace(bundle, manifest=replace(bundle.manifest, name="kestrel"))
    limits = {"max_events": 1, "max_labels": 1, "max_rows": 1, "max_reasons": 1, "max_body_bytes": 2**20}
    told = msgspec.json.encode(document(other, "417", **limits)).decode()
    assert all(text in told for text in ("kestrel", "417", other.digest))
    hidden = document(other, "417", named=False, **limits)
    OpenAPIV31SpecValidator(hidden).validate()
    for text in ("kestrel", '"417"', other.digest):
        assert text not in msgspec.json.encode(hidden).decode()
    assert hidden["components"]["schemas"]["Event"] == described(bundle)["components"]["schemas"]["Event"]


def test_it_has_the_routes_of_the_service_and_no_others() -> None:
    paths = described()["paths"]
    said = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert said == {(route.method, route.path) for route in ROUTES}


def test_it_asks_for_a_key_where_the_service_does() -> None:
    paths = described()["paths"]
    for route in ROUTES:
        operation = paths[route.path][route.method.lower()]
        scopes = {scope for scheme in operation["security"] for scopes in scheme.values() for scope in scopes}
        assert scopes == ({route.scope} if route.scope else set()), route.path
        assert ("401" in operation["responses"]) == (route.scope is not None), route.path


def test_it_has_every_status_that_the_service_refuses_with() -> None:
    sources = [path.read_text() for path in (ROOT / "serving").glob("*.py")]
    raised = {status for text in sources for status in re.findall(r"(?i)\bproblem\(\s*(\d{3})", text)}
    whole = described()
    said = {
        status for methods in whole["paths"].values() for op in methods.values() for status in op["responses"]
    }
    assert raised >= {"401", "404", "413", "431", "503"}
    assert raised | {"422"} <= said


def test_lists_on_platforms_routes_may_be_as_long_as_on_the_service_s_own() -> None:
    limits = {"max_events": 7, "max_labels": 5, "max_rows": 9, "max_reasons": 3, "max_body_bytes": 2**23}
    whole = document(None, "", **limits)
    said = "at most 7 events, or 9 rows of features, in at most 2,097,152 bytes"

    def lists(value: Any) -> Iterator[tuple[str, int]]:
        """What a schema has lists of, and of how many."""
        if isinstance(value, dict):
            if "maxItems" in value:
                yield value["items"]["$ref"].rsplit("/", 1)[1], value["maxItems"]
            value = list(value.values())
        for part in value if isinstance(value, list) else []:
            yield from lists(part)

    for path in ("/invocations", "/predict", "/score"):
        operation = whole["paths"][path]["post"]
        assert set(lists(operation["requestBody"])) == {("Event", 7), ("Features", 9)}, path
        assert said in operation["description"]
    assert said in whole["paths"]["/v2/models/{name}/infer"]["post"]["description"]
    lower = document(None, "", **limits | {"max_body_bytes": 2**20})
    assert "in at most 1,048,576 bytes" in lower["paths"]["/score"]["post"]["description"]


def test_its_examples_fit_its_schemas(bundle: Bundle) -> None:
    whole = described(bundle)
    seen = 0
    for where, content in _contents(whole):
        validator = jsonschema.Draft202012Validator(content["schema"] | {"components": whole["components"]})
        for example in content.get("examples", {}).values():
            errors = [error.message for error in validator.iter_errors(example["value"])]
            assert not errors, f"{where}: {errors}"
            seen += 1
    for name, schema in whole["components"]["schemas"].items():
        for example in schema.get("examples", []):
            _validator(whole, name).validate(example)
            seen += 1
    assert seen > 100


def test_what_it_says_of_an_event_is_what_the_service_takes(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path, "whole-number ids")
    whole = described(bundle)
    validator, reader = _validator(whole, "Event"), EventReader(bundle.schema)
    example = whole["components"]["schemas"]["Event"]["examples"][0]
    fitting: list[dict[str, Any]] = [
        *({}, {"payment": "17"}, {"payment": -BIG}, {"payment": BIG - 1}, {"payment": " 5 "}),
        *({"amount": 0}, {"amount": 1_000_000}, {"amount": 0.005}, {"items": None}, {"items": -BIG}),
        *({"abroad": None}, {"abroad": False}, {"note": ""}, {"note": "x" * 237}),
    ]
    unfitting: list[dict[str, Any]] = [
        *({"payment": None}, {"payment": ""}, {"payment": "17a"}, {"payment": "017"}, {"payment": 1.5}),
        *({"payment": BIG}, {"payment": -BIG - 1}, {"payment": True}, {"payment": [1]}, {"card": {}}),
        *({"amount": -0.01}, {"amount": 1_000_000.01}, {"amount": "1"}, {"amount": None}, {"amount": False}),
        *({"items": 1.5}, {"items": BIG}, {"items": "1"}, {"abroad": "true"}, {"abroad": 1}),
        *({"note": 5}, {"note": "x" * 238}, {"at": None}, {"at": 5}, {"fraud": True}, {"else": 1}),
    ]
    for changes in fitting:
        validator.validate(example | changes)
        reader.event(example | changes)
    for changes in unfitting:
        assert not validator.is_valid(example | changes), changes
        with pytest.raises(InputError):
            reader.event(example | changes)
    for name in example:
        lacking = {other: value for other, value in example.items() if other != name}
        if validator.is_valid(lacking):
            reader.event(lacking)
        else:
            with pytest.raises(InputError, match="missing"):
                reader.event(lacking)


def test_ignored_fields_are_said_to_be(tmp_path: Path) -> None:
    ignoring = Schema(
        events=msgspec.structs.replace(NUMBERS.events, unknown_fields="ignore"), label=NUMBERS.label
    )
    world = World(tmp_path)
    path, _ = world.bundle(schema=ignoring)
    event = described(open_bundle(path, public_key=world.keys / PUBLIC_KEY))["components"]["schemas"]["Event"]
    assert event["additionalProperties"] is True


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_service_takes_every_example_and_answers_as_it_says(tmp_path: Path, name: str) -> None:
    schema, features = SCHEMAS[name]
    world = World(tmp_path)
    decides = {} if features is not AREA else {"decisions": None}
    world.deploy("1", world.bundle(schema=schema, features=features, **decides))
    with world.server() as server:
        whole = server.get("/openapi.json").body
        assert whole["info"]["x-model"]["version"] == "1"
        for path, methods in whole["paths"].items():
            for method, operation in methods.items():
                for target, body, type_ in _asked(path, operation):
                    _check_answer(server, whole, method.upper(), target, body, type_, operation)


def _asked(path: str, operation: dict[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Every example of an operation, and its type: with its path filled in, without and with all that a query can
    ask for.
    """
    parameters = operation.get("parameters", [])
    flags = "&".join(f"{parameter['name']}=true" for parameter in parameters if parameter["in"] == "query")
    for parameter in parameters:
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
    contents = operation.get("requestBody", {}).get("content", {"": {"examples": {"": {"value": None}}}})
    for type_, content in contents.items():
        for example in content["examples"].values():
            value = example["value"] if type_ in ("", "application/json") else example["value"].encode()
            yield path, value, type_
            if flags:
                yield f"{path}?{flags}", value, type_


def _check_answer(
    server: Server,
    whole: dict[str, Any],
    method: str,
    target: str,
    body: Any,
    type_: str,
    operation: dict[str, Any],
) -> None:
    content = operation["responses"]["200"]["content"]
    if "application/json" not in content:
        return
    reply = server.request(method, target, body, {"content-type": type_} if type_ else {})
    if target.startswith("/v1/decisions/"):  # the example's digits are nobody's
        assert reply.status == 404
        return
    assert reply.status == 200, f"{method} {target}: {reply.body}"
    schema = content["application/json"]["schema"] | {"components": whole["components"]}
    jsonschema.Draft202012Validator(schema).validate(reply.body)


def test_a_decision_is_found_under_its_id_as_it_was_answered(world: World) -> None:
    with world.server() as server:
        whole = server.get("/openapi.json").body
        answer = server.post(
            "/v1/score?features=true", whole["components"]["schemas"]["Event"]["examples"][0]
        ).body
        found = server.get(f"/v1/decisions/{answer['decision_id']}")
        assert found.body == answer
        _validator(whole, "Answer").validate(found.body)


def test_it_follows_the_model(world: World) -> None:
    with world.server() as server:
        before = server.get("/openapi.json").body
        world.deploy("2", world.bundle("second", seed=1))
        server.wait_for("version", "2")
        after = server.get("/openapi.json").body
        assert (before["info"]["x-model"]["version"], after["info"]["x-model"]["version"]) == ("1", "2")
