"""What other servers speak, spoken by this one: each protocol decodes, `core` scores, the protocol encodes."""

from __future__ import annotations

from serving.http import Response, Route
from serving.protocols import azure, mlflow, open_inference, sagemaker, vertex

__all__ = ["ROUTES", "worded"]

ROUTES: tuple[Route, ...] = (
    *open_inference.ROUTES,
    *sagemaker.ROUTES,
    *mlflow.ROUTES,
    *vertex.ROUTES,
    *azure.ROUTES,
)
"""Of all protocols."""


def worded(path: str, problem: Response) -> Response:
    """A problem document as the protocol of the path that was asked for has it."""
    return open_inference.refused(problem) if f"{path}/".startswith(open_inference.PREFIX) else problem
