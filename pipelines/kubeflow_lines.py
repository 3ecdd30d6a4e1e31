"""What Kubeflow's local runner prints, made short: when a task starts and ends, and what its step says.

The runner logs by the root logger, in the thread of the task, and prints there what the task's process prints: among it
the executor's log, with all inputs and outputs as JSON. Of that only warnings and errors are let through.
"""

from __future__ import annotations

import builtins
import io
import logging
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

__all__ = ["Lines", "short_lines", "uncoloured"]

_COLOUR = re.compile(r"\x1b\[\d*m")
_STARTED = re.compile(r"Executing task '(.+)'$")
_ENDED = re.compile(r"Task '(.+)' finished with status (\w+)$")
_CACHED = re.compile(r"Task (\S+) cache hit ")
_EXECUTORS = re.compile(r"\[KFP Executor \S+ \S+ (\w+)\]: (.*)")
_CANDIDATE = re.compile(r'^"candidate": "(.+?)"')
_OURS = "mlops: "  # before a step's error


def uncoloured(text: str) -> str:
    """The text without what makes a terminal change its colour."""
    return _COLOUR.sub("", text)


class _Task(threading.local):
    """Of the task of this thread.

    Fields:
        line: what was printed since the last line's end.
        inputs: whether the next line begins the JSON of its inputs; `depth` is how deep in it the line is.
        candidates: those that its inputs name.
        said: the last line of its own.
    """

    name = ""
    line = ""
    inputs = False
    depth = 0
    candidates: frozenset[str] = frozenset()
    said = ""

    @property
    def title(self) -> str:
        """Its name, and of which candidate it is, if of one; many candidates have tasks of one name."""
        return " ".join((self.name, *self.candidates)) if len(self.candidates) == 1 else self.name


class Lines(io.TextIOBase):
    """A stream for the runner's output and a filter of its log, to `target`; `failures` says of tasks why they failed.

    With `whole` all goes through as it comes.
    """

    def __init__(self, target: TextIO, *, whole: bool = False) -> None:
        self.failures: list[str] = []
        self._target, self._whole = target, whole
        self._task = _Task()

    def write(self, text: str) -> int:
        if self._whole:
            self._target.write(text)
        *lines, self._task.line = (self._task.line + text).split("\n")
        for line in lines:
            self._printed(line)
        return len(text)

    def flush(self) -> None:
        self._target.flush()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record of the root logger goes to its handlers."""
        message, task = uncoloured(record.getMessage()), self._task
        if match := _STARTED.match(message):
            task.name, task.inputs, task.depth, task.said = match[1], False, 0, ""
            task.candidates = frozenset()
        elif match := _CACHED.match(message):
            self._say(f"{match[1]}: taken from the cache")
        elif match := _ENDED.match(message):
            failed = match[2] != "SUCCESS"
            self._say(f"{task.title}: {'failed' if failed else 'done'}")
            why = f"{task.title}: {task.said.removeprefix(_OURS) or 'ended without a word'}"
            if failed and why not in self.failures:  # it was tried again
                self.failures.append(why)
        elif record.levelno > logging.INFO:
            self._say(message)
        return self._whole

    def _printed(self, line: str) -> None:
        """A line of the task's process, or one that the runner draws."""
        text, task = uncoloured(line).strip(), self._task
        match = _EXECUTORS.match(text)
        if task.depth or task.inputs:
            task.inputs = False
            task.depth += text.endswith(("{", "[")) - text.startswith(("}", "]"))
            task.candidates = task.candidates.union(_CANDIDATE.findall(text))
            if not task.depth:
                self._say(f"{task.title}: started")
        elif match and match[1] == "INFO":
            task.inputs = match[2].startswith("Got executor_input")
        elif text.strip("-"):
            text = match[2] if match else text
            # A step's own line says why it failed, whatever a library adds; without one, the last of a traceback does.
            if text.startswith(_OURS) or not task.said.startswith(_OURS):
                task.said = text
            self._say(f"{task.title}: {text.removeprefix(_OURS)}" if task.name else text)

    def _say(self, text: str) -> None:
        if not self._whole:
            self._target.write(f"{text}\n")
            self._target.flush()


@contextmanager
def short_lines(*, whole: bool = False) -> Iterator[Lines]:
    """Have what is printed and logged in the block go through `Lines` to standard error.

    Afterwards printing and logging are as they were: tasks side by side leave the one indented, the other without
    its handlers.
    """
    lines, root, print_ = Lines(sys.stderr, whole=whole), logging.getLogger(), builtins.print
    level, handlers = root.level, root.handlers[:]
    root.setLevel(logging.INFO)  # what the runner puts back when one of two tasks ends
    root.addFilter(lines)
    try:
        with redirect_stdout(lines):
            yield lines
    finally:
        root.removeFilter(lines)
        root.setLevel(level)
        root.handlers[:] = handlers
        builtins.print = print_
