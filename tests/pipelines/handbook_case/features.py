"""The published features."""

from __future__ import annotations

from usecases.fraud.features import PUBLISHED

__all__ = ["PUBLISHED"]
