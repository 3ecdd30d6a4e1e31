"""What other servers speak, spoken by this one: each protocol decodes, `core` scores, the protocol encodes."""

from __future__ import annotations

from serving.http import Route

__all__ = ["ROUTES"]

ROUTES: tuple[Route, ...] = ()
"""Of all protocols."""
