"""The server runs as an unprivileged user, without privileges, where only its store and logs can be written."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlops.api_keys import create_key
from mlops.signing import PUBLIC_KEY
from tests.serving.example import ROOT, World, payment
from tests.serving.secured import SCORE, bearer, family, serving, until

pytestmark = pytest.mark.system

NOBODY = 65534


def _read_only(needed: list[Path], written: list[Path]) -> list[str]:
    """A command line that runs another in a mount namespace where only `written` can be written, as nobody.

    What is needed is there for nobody too, where it lies in a folder of root's alone.
    """
    hidden = {
        next((above for above in (*reversed(folder.parents), folder) if not above.stat().st_mode & 1), None)
        for folder in needed
    } - {None}
    moved = [folder for folder in needed if any(folder.is_relative_to(str(above)) for above in hidden)]
    steps = ["mount --make-rprivate /", "mount -t tmpfs tmpfs /mnt"]
    for number, folder in enumerate(moved):
        steps += [f"mkdir /mnt/{number}", f"mount --rbind {shlex.quote(str(folder))} /mnt/{number}"]
    steps += [f"mount -t tmpfs -o mode=755 tmpfs {shlex.quote(str(above))}" for above in hidden]
    for number, folder in enumerate(moved):
        steps += [
            f"mkdir -p {shlex.quote(str(folder))}",
            f"mount --rbind /mnt/{number} {shlex.quote(str(folder))}",
        ]
    steps += [f"mount --bind {shlex.quote(str(folder))} {shlex.quote(str(folder))}" for folder in written]
    closed = [*moved, *filter(None, hidden), Path("/mnt"), Path("/dev/shm"), Path("/")]
    if os.path.ismount("/tmp"):
        closed.append(Path("/tmp"))
    steps += [f"mount -o remount,bind,ro {shlex.quote(str(folder))}" for folder in closed]
    as_nobody = f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --no-new-privs --bounding-set=-all"
    return ["unshare", "--mount", "sh", "-c", " && ".join([*steps, f'exec {as_nobody} "$@"']), "sh"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path / "home")
    world.deploy("1", world.bundle())
    return world


def test_it_scores_reloads_and_follows_its_keys_as_nobody_on_a_read_only_file_system(
    world: World, tmp_path: Path
) -> None:
    path = world.home / "access" / "api-keys.json"
    key = create_key(path, "all", ["score", "admin"])
    written = [world.store, world.decisions]
    for folder in written:
        folder.mkdir()
    for owned in (*written, path.parent, path):
        os.chown(owned, NOBODY, NOBODY)
    public = world.home / "verify-key.pem"  # beside the private one it is its owner's alone
    shutil.copy(world.keys / PUBLIC_KEY, public)
    prefix = _read_only([Path(sys.base_prefix), ROOT, world.home], written)
    more = ("--workers", "2", "--public-key", str(public))
    with serving(world, *more, prefix=prefix, env={"HOME": "/nonexistent", "TMPDIR": "/"}) as server:
        scored = server.ask("POST", SCORE, payment(1), **bearer(key))
        assert scored.status == 200, scored.text
        found = server.ask("GET", f"/v1/decisions/{scored.body['decision_id']}", **bearer(key))
        assert found.status == 200 and found.body["event_id"] == scored.body["event_id"]
        world.deploy("2", world.bundle("second", seed=3))
        assert server.ask("POST", "/v1/admin/reload", **bearer(key)).body["version"] == "2"
        new = create_key(path, "other", ["score"])
        until(lambda: server.ask("POST", SCORE, payment(2), **bearer(new)).status == 200)
        pids = [process.pid for process in family(server.process.pid)]
        assert len(pids) == 3
        for pid in pids:
            lines = (line.partition(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            status = {name: value for name, _, value in lines}
            assert set(status["Uid"].split()) == {str(NOBODY)} and int(status["CapEff"], 16) == 0
            for place in ("/tmp", str(ROOT), str(world.home), "/dev/shm"):
                touch = ["nsenter", "--mount", "-t", str(pid), "touch", f"{place}/written"]
                done = subprocess.run(touch, capture_output=True, text=True)
                assert "Read-only file system" in done.stderr, place
    assert server.process.returncode == 0
    assert "Traceback" not in server.log()
    assert list(world.decisions.glob("decisions-*.jsonl")) and list(world.decisions.glob("audit-*.jsonl"))
