"""What jobs of Kubernetes' operators share with the cron jobs (k8s/components/pipelines): user, volumes, secrets."""

from __future__ import annotations

import argparse
import inspect
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import msgspec
import yaml

from mlops.errors import MlopsError
from mlops.misfit import misfit
from mlops.settings import Settings
from mlops.storage import replace_file

__all__ = [
    "CONTAINER_SECURITY",
    "HOME",
    "JOB_NAME",
    "KEYS",
    "POD_SECURITY",
    "SCRATCH",
    "JobName",
    "claim",
    "main",
    "scratch",
    "text",
    "traffic",
    "variables",
]

HOME, KEYS, SCRATCH = "/mlops/home", "/mlops/keys", "/tmp"
USER = 10001  # the image's
POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsUser": USER,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
}
# URIs that may hold a password come from secrets, if the job needs them.
_SECRET = ("store", "tracking_uri")

# What a TrainJob's rules ask of its name, with room for what is put behind it in those of its pods.
JOB_NAME = r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?"
JobName = Annotated[
    str,
    msgspec.Meta(
        pattern=rf"^({JOB_NAME})?$",
        description="a name of small letters, digits and hyphens, at most 40, a letter first and no hyphen last",
    ),
]

Options = TypeVar("Options", bound=msgspec.Struct)


def variables(settings: Settings) -> list[dict[str, str]]:
    """The settings that somebody made, as a container's environment; without those that may hold a password."""
    values = msgspec.structs.asdict(settings)
    default = msgspec.structs.asdict(Settings())
    return [
        {"name": f"MLOPS_{name.upper()}", "value": str(value)}
        for name, value in values.items()
        if name not in _SECRET and value != default[name]
    ]


def claim(name: str, path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A volume of the pipelines', and where it is mounted."""
    return {"name": name, "persistentVolumeClaim": {"claimName": name}}, {"name": name, "mountPath": path}


def scratch() -> tuple[dict[str, Any], dict[str, Any]]:
    """The volume for what is written beside the home, and where it is mounted."""
    return {"name": "tmp", "emptyDir": {"sizeLimit": "20Gi"}}, {"name": "tmp", "mountPath": SCRATCH}


def traffic(name: str, namespace: str, pods: Mapping[str, str], ports: Iterable[int]) -> dict[str, Any]:
    """The policy that lets a job's pods talk to each other, and out to some ports."""
    each_other = {"podSelector": {"matchLabels": dict(pods)}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "podSelector": {"matchLabels": dict(pods)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [each_other]}],
            "egress": [
                {"to": [each_other]},
                {"ports": [{"protocol": "TCP", "port": port} for port in ports]},
            ],
        },
    }


def text(module: str, resources: Sequence[Mapping[str, Any]]) -> str:
    """Resources as YAML, and which module writes them."""
    head = f"# Written by `.venv/bin/python -m {module}`: change it there.\n"

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    return head + yaml.dump_all(
        resources, Dumper=Dumper, sort_keys=False, width=110, allow_unicode=True, explicit_start=False
    )


def main(
    module: str, target: Path, options: type[Options], rendered: Any, arguments: list[str] | None
) -> None:
    """The command of a module that prints manifests, or writes a file: by its options, and by MLOPS_*.

    Args:
        target: the committed file, which only `--out` of that path writes.
        rendered: makes the resources from settings and options.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=f"Print what {target.name} is an example of, for kubectl apply -f -.",
        epilog=f"{target.name} is that without options: --out {os.path.relpath(target)}",
    )
    parser.add_argument("--out", type=Path, help="a file to write, instead of printing")
    told = _told(options)
    for field in msgspec.structs.fields(options):
        default = f" Default: {field.default}" if field.default else ""
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", default=str(field.default), help=told[field.name] + default
        )
    given = vars(parser.parse_args(arguments))
    out: Path | None = given.pop("out")
    try:
        chosen = msgspec.convert(given, options, strict=False)
    except msgspec.ValidationError as error:
        parser.error(_unfit(error, given, options))
    settings = Settings.from_env()
    settings = msgspec.structs.replace(settings, home=Path(HOME))
    try:
        written = text(module, rendered(settings, chosen))
        if out is None:
            print(written, end="")
            return
        out.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(out) as aside:
            aside.write_text(written)
    except (MlopsError, OSError) as error:
        parser.error(str(error))
    print(f"written: {out}")


def _told(options: type[msgspec.Struct]) -> dict[str, str]:
    """What the docstring says of each field."""
    _, _, fields = inspect.cleandoc(options.__doc__ or "").partition("Fields:\n")
    return dict(re.findall(r"^ +(\w+): (.+)$", fields, re.MULTILINE))


def _unfit(error: msgspec.ValidationError, given: Mapping[str, Any], options: type[msgspec.Struct]) -> str:
    said, name = misfit(error, given, options)
    if "matching regex" in str(error):
        (form,) = get_type_hints(options, include_extras=True)[name].__metadata__
        said = f"{given[name]!r} is not {form.description}"
    return f"argument --{name.replace('_', '-')}: {said}"
