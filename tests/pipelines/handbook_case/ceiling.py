"""The ceiling scorer."""

from __future__ import annotations

from usecases.fraud.ceiling import COLUMNS, ceiling

__all__ = ["COLUMNS", "ceiling"]
