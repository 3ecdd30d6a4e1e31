"""The pointer says where bundles lie, and every reader of it takes that the same way."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.deployment import Deployed, Deployment, bundle_path, read_deployment, write_deployment
from mlops.errors import ConfigError, InputError

POINTER = Path("/home/deployments/current.json")


def deployed(uri: str) -> Deployed:
    return Deployed(version="1", candidate="mlp", framework="pytorch", uri=uri, digest="d1")


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("bundles/d1", "/home/deployments/bundles/d1"),
        ("../bundles/d1", "/home/deployments/../bundles/d1"),
        ("/srv/a b%20c#d/d1", "/srv/a b%20c#d/d1"),
        ("file:///srv/a%20b%23c/d1", "/srv/a b#c/d1"),
        ("file://localhost/srv/d1", "/srv/d1"),
    ],
)
def test_a_bundle_lies_where_its_uri_says(uri: str, path: str) -> None:
    assert bundle_path(POINTER, deployed(uri)) == Path(path)


@pytest.mark.parametrize("uri", ["s3://models/d1", "mlflow-artifacts:/1/d1", "file://elsewhere/d1"])
def test_what_is_not_on_this_machine_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match=f"{uri}: only local folders"):
        bundle_path(POINTER, deployed(uri))


def test_a_deployment_is_read_as_it_was_written(tmp_path: Path) -> None:
    pointer = tmp_path / "deployments" / "current.json"
    assert read_deployment(pointer) is None
    wanted = Deployment(name="fraud", champion=deployed("bundles/d1"), previous=deployed("bundles/d0"))
    write_deployment(pointer, wanted)
    assert read_deployment(pointer) == wanted
    pointer.write_text('{"name": "fraud"}')
    with pytest.raises(InputError, match="not a valid Deployment"):
        read_deployment(pointer)
