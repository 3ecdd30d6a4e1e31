"""What serving writes down: decisions and labels, as JSON lines that any room may read.

A line is appended in one write, so a killed process can leave at most one torn line, the last of its file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from mlops.errors import InputError

__all__ = ["Decision", "Kind", "LabelRecord", "log_files", "read_decisions", "read_labels", "read_lines"]

Kind = Literal["decisions", "labels"]
"""The two logs, as their files are called."""


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One scored event: what came in, what was computed and what was answered, as it was then.

    `event` holds the canonical columns, event time as ISO 8601 in UTC; `features` are in the order of the
    bundle whose manifest has the digest `bundle`. `score` is what the model gave: a probability, or the quantity
    that it predicts. `decision` is None where the bundle has no thresholds. `scored_at` is the wall clock, ISO 8601
    in UTC. `caller` is the name of the API key that asked.

    A line that is `void` says so of the earlier one with the same `decision_id`: the event was given another decision,
    as the process died, or lost the store, before this one was answered, or the store has forgotten it. Of several
    decisions about one event those that are not void count, and of these the last.
    """

    decision_id: str
    event_id: int | str
    scored_at: str
    event: dict[str, Any]
    features: list[float]
    score: float
    decision: str | None
    version: str
    bundle: str
    caller: str = ""
    void: bool = False


class LabelRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The truth about one event: 1 or 0, or the quantity that was to be predicted.

    `known_at` is when it was known (ISO 8601, UTC): in event time, or by the clock where events have no time.
    `received_at` is when the server took it, by the wall clock: of several about one event the last holds.
    """

    event_id: int | str
    label: int | float
    known_at: str
    received_at: str = ""


Record = TypeVar("Record", Decision, LabelRecord)


def log_files(folder: Path, kind: Kind) -> list[Path]:
    """The files of a log, in the order in which they were begun."""
    return sorted(folder.glob(f"{kind}-*.jsonl"))


def read_lines(path: Path, type_: type[Record]) -> Iterator[Record]:
    """The records in one file of a log.

    Raises:
        InputError: a line, not the torn last one, does not parse.
    """
    decoder = msgspec.json.Decoder(type_)
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                break  # torn by a kill; it was never acknowledged
            try:
                yield decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise InputError(f"line {number} is not a {type_.__name__}: {error}", where=path) from None


def read_decisions(folder: Path, besides: Collection[str] = ()) -> Iterator[Decision]:
    """All decisions in `folder`, in the order of files and lines, except those in the files of these names.

    Raises:
        InputError: a line, not the torn last one, does not parse.
    """
    files = (path for path in log_files(folder, "decisions") if path.name not in besides)
    return (record for path in files for record in read_lines(path, Decision))


def read_labels(folder: Path, besides: Collection[str] = ()) -> Iterator[LabelRecord]:
    """The same of labels.

    Raises:
        InputError: a line, not the torn last one, does not parse.
    """
    files = (path for path in log_files(folder, "labels") if path.name not in besides)
    return (record for path in files for record in read_lines(path, LabelRecord))
