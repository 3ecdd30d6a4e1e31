"""What a person sees while steps run: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TextIO

import msgspec
from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from pipelines.interrupt import check
from pipelines.progress import heard_by

__all__ = ["View"]


_FRAME = 4  # lines: title, headings, and room for the prompt


class _Row(msgspec.Struct):
    title: str
    started: float
    seconds: float | None = None
    failed: bool = False
    note: str = ""


class View:
    """Steps with their state, duration and a note. Use it as a context manager.

    Args:
        title: the heading.
        stream: where to write; standard error by default, so that results keep standard output to themselves.
    """

    def __init__(self, title: str, stream: TextIO | None = None) -> None:
        self._title = title
        self._stream = stream or sys.stderr
        self._rows: list[_Row] = []
        self._live: Live | None = None

    @property
    def seconds(self) -> dict[str, float]:
        """Duration of each finished step, by title."""
        return {row.title: round(row.seconds, 3) for row in self._rows if row.seconds is not None}

    def __enter__(self) -> View:
        if self._stream.isatty():
            console = Console(file=self._stream)
            fitting = console.height - _FRAME  # of more rows the last ones are shown, until all is done
            self._live = Live(
                get_renderable=lambda: self._table(fitting),
                console=console,
                refresh_per_second=8,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live.console.print(self._table(len(self._rows)))
            self._live = None

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show a step from its start to its end."""
        row = _Row(title, time.monotonic())
        self._rows.append(row)
        try:
            with heard_by(partial(setattr, row, "note")):
                yield
            check()
        except BaseException:
            row.failed = True
            raise
        finally:
            row.note = ""
            row.seconds = time.monotonic() - row.started
            self._line(f"{'failed' if row.failed else 'done  '} {row.seconds:7.1f} s  {title}")

    def note(self, text: str) -> None:
        """Say what the latest step found."""
        if self._rows:
            self._rows[-1].note = text
        self._line(f"                  {text}")

    def _line(self, text: str) -> None:
        if self._live is None:
            print(text, file=self._stream, flush=True)

    def _table(self, last: int) -> Table:
        table = Table(title=self._title, title_justify="left", box=None, padding=(0, 1), expand=True)
        for heading in ("", "step"):
            table.add_column(heading)
        table.add_column("seconds", justify="right")
        table.add_column("", ratio=1, no_wrap=True, overflow="ellipsis")  # gives way on a narrow terminal
        for row in self._rows[-last:]:
            seconds = time.monotonic() - row.started if row.seconds is None else row.seconds
            table.add_row(_mark(row), row.title, f"{seconds:.1f}", Text(row.note, "dim"))
        return table


def _mark(row: _Row) -> RenderableType:
    if row.seconds is None:
        return Spinner("dots")
    return Text("✗", "red") if row.failed else Text("✓", "green")
