"""Several processes under torchrun: one leads, and does all that one process alone would do; the others help it to fit.

So whatever trains with PyTorch, once or many times over, needs to know nothing of it. Gradients go by NCCL between GPUs
and by Gloo between CPUs; what is to be fitted goes by Gloo, as the pickled arguments of a trainer's `fit`: these are
processes of one program, on machines that see the same files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from mlops.errors import MlopsError
from training.trainers import Place
from training.trainers.team import ALONE, Team

__all__ = ["call", "device_here", "help_to_fit", "leading"]

_WAIT = timedelta(days=7)  # for the leader, who may be reading a table or testing a model


class _Team:
    def __init__(self) -> None:
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self._words = dist.new_group(backend="gloo", timeout=_WAIT)

    def tell(self, thing: Any) -> Any:
        """What the leader says; all have to be there."""
        things = [thing]
        dist.broadcast_object_list(things, src=0, group=self._words, device=torch.device("cpu"))
        return things[0]

    def share(self, value: bytes) -> bytes:
        shared: bytes = self.tell(value)
        return shared


_here: _Team | None = None


def device_here() -> torch.device:
    """The GPU that is this process's, if there are any."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


@contextmanager
def _together() -> Iterator[_Team]:
    global _here
    device = device_here()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        _here = _Team()
        yield _here
    finally:
        _here = None
        dist.destroy_process_group()


@contextmanager
def leading() -> Iterator[None]:
    """Let the other processes help with each fit in this block; they end with it."""
    with _together() as team:
        try:
            yield
        except MlopsError:  # which is said in a line, and the others need not say that they lost their leader
            team.tell(None)
            raise
        team.tell(None)


def help_to_fit() -> None:
    """Take part in each fit of the leader until it has done."""
    with _together() as team:
        while (job := team.tell(None)) is not None:
            fit, arguments, task, seed = job
            fit(*arguments, task=task, seed=seed, place=Place(log=lambda *_: None))


def call(fit: Callable[..., Any], *arguments: Any, task: str, seed: int) -> Team:
    """The processes for a fit with these arguments; called by the leader's `fit`, and by those that it calls."""
    if _here is None:
        return ALONE
    if _here.rank == 0:
        _here.tell((fit, arguments, task, seed))
    return _here
