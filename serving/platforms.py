"""What managed platforms tell a container in variables of their own, put into those that `serving.options` reads."""

from __future__ import annotations

import atexit
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mlops.errors import ConfigError
from serving.option_table import PREFIX

__all__ = ["KEY_TEXT", "environment"]

KEY_TEXT = f"{PREFIX}PUBLIC_KEY_PEM"
"""The variable that holds the public key itself, where a container can be given variables, but no file of its own. The
key must not come with the bundle: who could replace the one could then replace the other.
"""

_PORTS = ("SAGEMAKER_BIND_TO_PORT", "AIP_HTTP_PORT")  # the first that is there, as infra/docker/healthy looks
_MODELS = "AZUREML_MODEL_DIR"
_ARTIFACTS = "AIP_STORAGE_URI"
_PATHS = ("AIP_PREDICT_ROUTE", "AIP_HEALTH_ROUTE")
_POINTER = "current.json"
_PORT = re.compile(r"[1-9]\d{0,4}")
_PATH = re.compile(r"/[!-$&->@-~]*")  # as a request has it: nothing to decode, and no query


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """The variables, with what a platform says in place of what the image does: the port, the pointer, the key.

    Raises:
        ConfigError: `KEY_TEXT` holds no public key; or Vertex AI says that a bundle is to be fetched, which would not
            be the one that is served, or names a route that is no path; or a port is none.
    """
    said = dict(env)
    if env.get(_ARTIFACTS):
        raise ConfigError(
            "is not read, as the server has no client for storage",
            where=_ARTIFACTS,
            todo="upload the model without artifacts; infra/vertex puts its bundle into the image",
        )
    for name in _PATHS:
        if env.get(name) and not _PATH.fullmatch(env[name]):
            raise ConfigError(
                f"{env[name][:80]!r} is not a path", where=name, todo="name one such as /predict"
            )
    if name := next(filter(env.get, _PORTS), ""):
        if not _PORT.fullmatch(env[name]):
            raise ConfigError(f"{env[name][:80]!r} is not a port", where=name)
        said[f"{PREFIX}PORT"] = env[name]
    if env.get(_MODELS):
        said[f"{PREFIX}POINTER"] = str(_pointer(Path(env[_MODELS])))
    if env.get(KEY_TEXT):
        said[f"{PREFIX}PUBLIC_KEY"] = str(_key(env[KEY_TEXT]))
    said.pop(KEY_TEXT, None)  # it is no option
    return said


def _pointer(models: Path) -> Path:
    """The pointer in what Azure ML mounted: the folder that was registered keeps its name in there."""
    found = sorted([*models.glob(_POINTER), *models.glob(f"*/{_POINTER}")])
    return found[0] if found else models / _POINTER


def _key(text: str) -> Path:
    """A file with the key in it, as long as this process, which its workers do not outlive."""
    from mlops.signing import (
        load_public_key,
    )  # half of what the supervisor would take to start, and seldom needed

    path = _written(text.replace("\\n", "\n").strip().encode() + b"\n")
    try:
        load_public_key(path)
    except ConfigError as error:
        raise ConfigError(error.what, where=KEY_TEXT, todo="put the text of verify-key.pem there") from None
    return path


def _written(data: bytes) -> Path:
    """A file in memory, as the container may have no place to write one to; a real one elsewhere than on Linux."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("verify-key.pem")
        os.write(descriptor, data)
        return Path(f"/proc/{os.getpid()}/fd/{descriptor}")
    descriptor, name = tempfile.mkstemp(suffix=".pem")
    atexit.register(os.unlink, name)
    with open(descriptor, "wb") as file:
        file.write(data)
    return Path(name)
