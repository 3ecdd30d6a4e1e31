"""Writes qualifications.md from qualifications.yaml: `python docs/qualifications.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

__all__ = ["Area", "Ask", "read", "render"]

HERE = Path(__file__).parent

HEAD = """# Qualifications

What a senior machine-learning engineer is asked for, where it stands here, and the command that shows it.
Generated from [qualifications.yaml](qualifications.yaml) by `.venv/bin/python docs/qualifications.py`.

**ran**: a test or the demo runs it. **rendered**: checked as text only. **not yet**: not here.
"""


class Ask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that is asked for; what is not here yet has no place and no command."""

    ask: str
    evidence: Literal["ran", "rendered", "not yet"]
    where: tuple[str, ...] = ()
    command: str = ""


class Area(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of asks."""

    area: str
    asks: tuple[Ask, ...]


def read() -> list[Area]:
    """The areas of qualifications.yaml."""
    return msgspec.yaml.decode((HERE / "qualifications.yaml").read_bytes(), type=list[Area])


def render(areas: list[Area]) -> str:
    """The page, as Markdown."""
    lines = [HEAD]
    for area in areas:
        lines += [f"## {area.area}", "", "| asked for | where | shown by | evidence |", "|---|---|---|---|"]
        for ask in area.asks:
            where = ", ".join(f"[{path}](../{path})" for path in ask.where)
            command = f"`{ask.command}`" if ask.command else ""
            lines.append(f"| {ask.ask} | {where} | {command} | {ask.evidence} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    (HERE / "qualifications.md").write_text(render(read()))
