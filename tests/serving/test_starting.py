"""What ends a server's start, or a worker's, and what is waited for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import psutil
import pytest

from mlops.api_keys import create_key
from mlops.signing import PRIVATE_KEY, PUBLIC_KEY
from tests.serving.example import ROOT, World
from tests.serving.supervised import answers, changed, ended, loads, log_of, until


def broken_keys(world: World) -> tuple[list[str], str]:
    path = world.home / "api-keys.json"
    path.write_bytes(b"{")
    return ["--keys", str(path)], f"{path}: not a file of API keys"


def no_keys_there(world: World) -> tuple[list[str], str]:
    path = world.home / "nowhere.json"
    return ["--keys", str(path)], f"{path}: no such file"


def no_public_key(world: World) -> tuple[list[str], str]:
    path = world.keys / PUBLIC_KEY
    path.unlink()
    return [], f"{path}: no such file"


def another_file(world: World) -> tuple[list[str], str]:
    path = world.keys / PUBLIC_KEY
    path.write_bytes(b"garbage")
    return [], f"{path}: not a public key in PEM"


def a_private_key(world: World) -> tuple[list[str], str]:
    path = world.keys / PRIVATE_KEY
    return ["--public-key", str(path)], f"{path}: not a public key in PEM"


def no_kind_of_store(world: World) -> tuple[list[str], str]:
    return ["--store", "foo://x"], "--store: no store is of the kind foo:"


def no_option_of_redis(world: World) -> tuple[list[str], str]:
    uri = "redis://:s3cret@127.0.0.1:9/0?prefix=a&foo=bar"
    return ["--store", uri], "redis://"


def a_file_as_store(world: World) -> tuple[list[str], str]:
    return ["--store", str(world.pointer)], f"{world.pointer}: is no folder"


def a_store_below_a_file(world: World) -> tuple[list[str], str]:
    path = world.pointer / "store"
    return ["--store", str(path)], f"{path}: cannot be read: Not a directory"


MISTAKES = [
    broken_keys, no_keys_there, no_public_key, another_file, a_private_key, no_kind_of_store, a_file_as_store,
    a_store_below_a_file, no_option_of_redis,
]  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_cannot_mend_by_itself_ends_the_start_with_one_line_and_exit_code_2(
    world: World, mistake: Callable[[World], tuple[list[str], str]]
) -> None:
    more, said = mistake(world)
    ran = subprocess.run(
        world.command(0, "--workers", "2", *more), cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    (line,) = ran.stderr.splitlines()
    assert _why(line).startswith(said) and "s3cret" not in line


def _why(line: str) -> str:
    """The bare sentence, or the message of a line of JSON, as what collects the log reads it."""
    return json.loads(line)["message"] if line.startswith("{") else line


QUICKLY = changed(_DELAYS_S=(0.0,) * 8)


def test_where_no_worker_can_start_any_more_it_ends_with_their_exit_code(world: World) -> None:
    keys = world.home / "api-keys.json"
    create_key(keys, "till", ["score"])
    with world.server(args=[*QUICKLY, *world.command(0, "--keys", str(keys))[3:]]) as server:
        keys.write_bytes(b"{")
        (worker,) = server.workers()
        os.kill(worker, signal.SIGKILL)
        assert server.process.wait(timeout=60) == 2
    log = log_of(world)
    assert log.count("ended with exit code 2; another is started") == 7
    assert log.count("worker 0 cannot start: ") == 1
    assert "no worker answers, and 8 in a row could not start" in log


DIES = """
import os, sys
from serving import worker
if {when}:
    {how}
sys.exit(worker.main(sys.argv[1:]))
"""


def dying(world: World, when: str, how: str) -> list[str]:
    """What starts a server whose workers die at their start."""
    program = world.home / "python"
    code = world.home / "dies.py"
    code.write_text(DIES.format(when=when, how=how))
    program.write_text(f'#!/bin/sh\nshift 2\nexec "{sys.executable}" "{code}" "$@"\n')
    program.chmod(0o755)
    run = (
        "import sys; from serving import __main__, supervisor; supervisor._DELAYS_S = (0.0,) * 8; "
        f"supervisor.sys.executable = {str(program)!r}; sys.exit(__main__.main())"
    )
    return [sys.executable, "-c", run, *world.command(0)[3:]]


def test_workers_that_a_signal_ends_before_any_answered_end_the_server(world: World) -> None:
    ran = subprocess.run(
        dying(world, "True", "os.kill(os.getpid(), 4)"),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout) == (128 + 4, "")
    assert ran.stderr.count("was ended by signal 4; another is started") == 7
    assert "no worker answers, and 8 in a row could not start" in ran.stderr


def test_workers_that_fail_unforeseen_after_the_first_answered_end_the_server(world: World) -> None:
    command = dying(world, f"os.path.exists({str(world.home / 'broken')!r})", "sys.exit(1)")
    with world.server(args=command, env={**os.environ, "PYTHONPATH": str(ROOT)}) as server:
        assert answers(server)
        (world.home / "broken").touch()
        (worker,) = server.workers()
        os.kill(worker, signal.SIGKILL)
        assert server.process.wait(timeout=60) == 1
    assert log_of(world).count("ended with exit code 1; another is started") == 7


def test_where_another_worker_answers_one_that_cannot_start_does_not_end_it(world: World) -> None:
    keys = world.home / "api-keys.json"
    create_key(keys, "till", ["score"])
    command = [*QUICKLY, *world.command(0, "--keys", str(keys), "--workers", "2")[3:]]
    with world.server(args=command) as server:
        until(lambda: loads(world) == 2, 30)
        keys.write_bytes(b"{")
        os.kill(server.workers()[0], signal.SIGKILL)
        until(lambda: log_of(world).count("ended with exit code 2; another is started") > 8, 60)
        assert server.process.poll() is None
        assert answers(server)


def test_a_worker_that_hangs_before_it_is_ready_is_ended_and_another_is_started(world: World) -> None:
    command = [*changed(LOOK_S=0.5, _STARTING=4), *world.command()[3:]]
    with (world.home / "serving.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log)
    try:
        supervisor = psutil.Process(process.pid)
        until(lambda: any("serving.worker" in child.cmdline() for child in supervisor.children()))
        (hanging,) = supervisor.children()
        hanging.suspend()
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"serving version 1 on ")
        assert ended(hanging.pid)
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0
        process.stdout.close()
    assert f"(pid {hanging.pid}) hangs before it is ready and is ended" in log_of(world)
