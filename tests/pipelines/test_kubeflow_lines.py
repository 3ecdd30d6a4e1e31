"""What is let through of what Kubeflow's local runner prints and logs."""

from __future__ import annotations

import builtins
import io
import json
import logging
import threading
from collections.abc import Callable

import pytest
from kfp.local import logging_utils

from pipelines.kubeflow_lines import Lines, short_lines

EXECUTOR = "[KFP Executor 2026-11-21 22:13:27,877 {}]: {}"
INPUTS = {
    "inputs": {"parameterValues": {"source": "x", "only": [], "ends": "with {"}},
    "outputs": {"a": [{}]},
}
PRINTED = [
    EXECUTOR.format("INFO", "Loading KFP component"),
    EXECUTOR.format("INFO", "Got executor_input:"),
    *json.dumps(INPUTS, indent=4).splitlines(),
]


OF_TREES = '        "candidate": "trees",'


def _log(lines: Lines, message: str, level: int = logging.INFO) -> bool:
    return lines.filter(logging.LogRecord("root", level, __file__, 1, message, None, None))


def _run(
    lines: Lines, name: str, own: list[str], status: str, meanwhile: Callable[[], object], *more: str
) -> None:
    """A task as the runner tells of it: with colours, and its process's lines indented, in pieces."""
    coloured = logging_utils.color_text(repr(name), logging_utils.Color.CYAN)
    _log(lines, f"Executing task {coloured}")
    for line in [*PRINTED[:4], *more, *PRINTED[4:], *own]:
        meanwhile()
        for piece in ("    ", line, "\n"):
            lines.write(piece)
    ended = logging_utils.color_text(status, logging_utils.Color.RED)
    _log(lines, f"Task {coloured} finished with status {ended}")
    _log(lines, f"Task {coloured} outputs:\n    model: Model( name='model',")
    lines.write("-" * 80 + "\n")


def test_inputs_outputs_and_colours_are_left_out_and_a_task_s_own_lines_stay() -> None:
    said = io.StringIO()
    lines = Lines(said)
    own = ["JSON of its own: {", "}", EXECUTOR.format("WARNING", "few frauds"), "done in 3 s"]
    _run(lines, "train", own, "SUCCESS", int, OF_TREES)
    _run(lines, "register", [], "SUCCESS", int, OF_TREES, OF_TREES.replace("trees", "torch"))
    _log(lines, "Task judge cache hit (key=0123); skipping execution.")
    _log(lines, "could not read the cache", logging.WARNING)
    assert said.getvalue().splitlines() == [
        "train trees: started",
        *(f"train trees: {line}" for line in (own[0], own[1], "few frauds", own[3])),
        "train trees: done",
        "register: started",
        "register: done",
        "judge: taken from the cache",
        "could not read the cache",
    ]
    assert lines.failures == []


def test_of_two_tasks_side_by_side_each_failure_has_its_own_reason() -> None:
    lines, both = Lines(io.StringIO()), threading.Barrier(2)
    failing = ["Traceback (most recent call last):", "ValueError: no"], ["mlops: x: is damaged", "one leaked"]
    threads = [
        threading.Thread(target=_run, args=(lines, name, own, "FAILURE", both.wait))
        for name, own in zip(("train", "judge"), failing, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(lines.failures) == ["judge: x: is damaged", "train: ValueError: no"]


def test_a_task_that_was_killed_said_nothing() -> None:
    lines = Lines(io.StringIO())
    _run(lines, "train", [], "FAILURE", int)
    _run(lines, "train", [], "FAILURE", int)  # tried again
    assert lines.failures == ["train: ended without a word"]


def test_all_is_shown_to_who_asks_for_it() -> None:
    said = io.StringIO()
    lines = Lines(said, whole=True)
    assert _log(lines, "Executing task 'train'")  # and so it goes to the runner's handler
    lines.write(f"    {PRINTED[2]}\n")
    assert said.getvalue() == f"    {PRINTED[2]}\n"


def test_what_the_runner_leaves_of_printing_and_logging_is_mended(
    capsys: pytest.CaptureFixture[str],
) -> None:
    root, before = logging.getLogger(), builtins.print
    handlers, level = root.handlers[:], root.level
    with short_lines():
        tasks = [
            context
            for _ in range(2)
            for context in (logging_utils.indented_print(), logging_utils.local_logger_context())
        ]
        for context in tasks:
            context.__enter__()
        for context in tasks:  # not in the opposite order
            context.__exit__(None, None, None)
        assert builtins.print is not before
    assert builtins.print is before
    assert (root.handlers, root.level) == (handlers, level)
    print("as it is")
    assert capsys.readouterr().out == "as it is\n"
