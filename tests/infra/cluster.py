"""A stand-in for kubectl and its cluster: what runs there, what failed to, and the one ConfigMap that is kept there."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.infra.programs import REFERENCES, Programs

__all__ = ["Cluster"]

STAND_IN = """
import json, os, pathlib, shutil, signal, sys, time
cluster, words = pathlib.Path(os.environ["CLUSTER"]), sys.argv[1:]
running, kept = cluster / "running", cluster / "release.json"
match words:
    case ["kustomize", _]:
        print((cluster / "rendered").read_text(), end="")
    case ["config", "current-context"]:
        sys.exit((cluster / "unknown").exists())
    case ["--namespace", "mlops", "get", *_] if (cluster / "silent").exists():
        sys.exit("E1121 memcache.go:265] couldn't get it\\nUnable to connect to the server: no route to host")
    case ["--namespace", "mlops", "get", "configmap", "release", "--ignore-not-found", "--output", "json"]:
        print(kept.read_text() if kept.exists() else "", end="")
    case ["--namespace", "mlops", "create", "configmap", "release", source, "--dry-run=client", "--output", "yaml"]:
        folder = pathlib.Path(source.removeprefix("--from-file="))
        print(json.dumps({"data": {path.name: path.read_text() for path in folder.iterdir()}}))
    case ["apply", "--server-side", "--force-conflicts", "--filename", path]:
        shutil.copy(path, kept)
    case ["apply", "--filename", path]:
        shutil.copy(path, running)
        (cluster / "config").write_text(os.environ.get("KUBECONFIG", ""))
        with (cluster / "applied").open("a") as log:
            log.write(pathlib.Path(path).read_text().splitlines()[-1] + "\\n")
        sys.exit("half sent" in running.read_text())
    case ["--namespace", "mlops", "rollout", "status", "deployment/serving", "--timeout", "10m"]:
        if "slow" in running.read_text():
            (cluster / "waited-for").touch()
            for _ in range(1200):
                if not (cluster / "ready").exists():
                    time.sleep(0.05)
        if "lost" in running.read_text():
            os.kill(os.getppid(), signal.SIGKILL)
        sys.exit("not ready" in running.read_text())
    case _:
        sys.exit(f"what is {words}?")
"""


class Cluster:
    """A cluster, and `make smoke` against it.

    The last line of manifests says what becomes of them: with `half sent` in it some of them are refused, with `not
    ready` their rollout fails, with `no scores` the smoke test, with `lost` whoever waits for the rollout is killed.
    With `slow` the rollout makes a file `waited-for` in the folder, and ends when there is one `ready`.
    With a file `unknown` in the folder kubectl has no cluster chosen, with `silent` the cluster does not answer.
    """

    def __init__(self, folder: Path, programs: Programs) -> None:
        self.folder = folder
        folder.mkdir()
        program = folder / "kubectl.py"
        program.write_text(STAND_IN)
        programs.add("kubectl", f'CLUSTER={folder} exec {sys.executable} -I -S {program} "$@"')
        programs.add("make", f'! grep -q "no scores" {folder}/running')

    def render(self, last: str, *, image: str = REFERENCES[0]) -> None:
        """What the overlay is rendered to from here on."""
        (self.folder / "rendered").write_text(f"spec:\n  - image: {image}\n# {last}\n")

    @property
    def applied(self) -> list[str]:
        """The last lines of what was applied, in order."""
        log = self.folder / "applied"
        return [line.removeprefix("# ") for line in log.read_text().splitlines()] if log.exists() else []

    @property
    def config(self) -> Path:
        """The file of access that the last `apply` was told."""
        return Path((self.folder / "config").read_text() or os.devnull)

    @property
    def known(self) -> dict[str, str]:
        """The versions that the ConfigMap has."""
        kept = self.folder / "release.json"
        data = json.loads(kept.read_text())["data"] if kept.exists() else {}
        return {name: value for name, value in data.items() if name != "turn" and not name.endswith(".yaml")}
