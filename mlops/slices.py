"""Parts of the events that a model is judged on one by one."""

from __future__ import annotations

import msgspec

__all__ = ["Slice"]


class Slice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Events by an event's `column` or by a `feature`: in bands between borders, or by its values."""

    name: str
    column: str = ""
    feature: str = ""
    bands: tuple[float, ...] = ()
    values: tuple[str | int | bool, ...] = ()
    description: str = ""
