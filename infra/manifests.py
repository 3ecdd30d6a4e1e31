"""What jobs of Kubernetes' operators share with the cron jobs (k8s/components/pipelines): user, volumes, secrets."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from mlops.settings import Settings
from mlops.storage import replace_file

__all__ = [
    "CONTAINER_SECURITY",
    "HOME",
    "KEYS",
    "POD_SECURITY",
    "SCRATCH",
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
    """The command of a module that writes manifests: by its options, and by MLOPS_*.

    Args:
        rendered: makes the resources from settings and options.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=f"Write {target.name}.")
    parser.add_argument("--out", type=Path, default=target)
    for field in msgspec.structs.fields(options):
        parser.add_argument(f"--{field.name.replace('_', '-')}", default=str(field.default))
    given = vars(parser.parse_args(arguments))
    out: Path = given.pop("out")
    try:
        chosen = msgspec.convert(given, options, strict=False)
    except msgspec.ValidationError as error:
        parser.error(str(error))
    settings = Settings.from_env()
    settings = msgspec.structs.replace(settings, home=Path(HOME))
    with replace_file(out) as aside:
        aside.write_text(text(module, rendered(settings, chosen)))
