"""Several processes under torchrun: one leads, and does all that one process alone would do; the others help it to fit.

So whatever trains with PyTorch, once or many times over, needs to know nothing of it. Gradients go by NCCL between GPUs
and by Gloo between CPUs; what is to be fitted goes by Gloo, as the pickled arguments of a trainer's `fit`: these are
processes of one program, on machines that see the same files.

All compute on GPUs, each on one of its own, or all on CPUs: NCCL refuses two processes on one GPU, and knows no CPUs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mlops.errors import MlopsError
from training.trainers import Place
from training.trainers.team import ALONE, Team

__all__ = ["a_gpu_each", "averaging", "call", "device_here", "help_to_fit", "leading"]

log = logging.getLogger(__name__)

_WAIT = timedelta(days=7)  # for the leader, who may be reading a table or testing a model


class _Team:
    def __init__(self) -> None:
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self._words = dist.new_group(backend="gloo", timeout=_WAIT)
        self.device, self.gradients = _own_device(), dist.group.WORLD
        gpus = [""] * self.world
        dist.all_gather_object(gpus, _id(self.device))
        if a_gpu_each(gpus):
            torch.cuda.set_device(self.device)
            self.gradients = dist.new_group(backend="nccl")
        else:
            self.device = torch.device("cpu")
            if any(gpus) and self.rank == 0:
                log.warning(
                    "%d processes have %d GPUs, so all compute on CPUs; start one process for each GPU",
                    self.world,
                    len({*gpus} - {""}),
                )

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
    """The GPU that is this process's, if there are any, and one for each process."""
    return _own_device() if _here is None else _here.device


def a_gpu_each(gpus: Sequence[str]) -> bool:
    """Whether each process has a GPU of its own, by the ids of theirs; a process that has none gives ""."""
    return all(gpus) and len({*gpus}) == len(gpus)


def averaging(module: nn.Module) -> nn.Module:
    """The module, but its gradients are those of all processes' shares, if there are several."""
    if _here is None or _here.world == 1:
        return module
    return DistributedDataParallel(module, process_group=_here.gradients)


def _own_device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


def _id(device: torch.device) -> str:
    """The same in all processes that compute on one GPU, however each of them numbers those that it sees."""
    return str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else ""


@contextmanager
def _together() -> Iterator[_Team]:
    global _here
    dist.init_process_group("gloo")
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
