"""Worker processes for what imports a framework: they hear of an end in time, and none outlives its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from multiprocessing.process import BaseProcess
from typing import Any

__all__ = ["as_worker", "workers"]

# Whose number of threads is read from where when the library is loaded: OpenMP's, NumPy's, TensorFlow's.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


@contextmanager
def workers(count: int = 2) -> Iterator[Executor]:
    """Processes for what imports a framework; they end with the block, however it ends."""
    context = multiprocessing.get_context("spawn")
    pool = _Pool(count, mp_context=context, initializer=_initialise_worker)
    try:
        yield pool
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


class _Pool(ProcessPoolExecutor):
    """A pool whose workers begin nothing new once they were told to end."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if threading.current_thread() is not threading.main_thread():
            return super().submit(_unless_ending, fn, *args, **kwargs)
        # The first call starts the workers. They must not hear Ctrl-C before they can say so themselves.
        heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return super().submit(_unless_ending, fn, *args, **kwargs)
        finally:
            signal.signal(signal.SIGINT, heard)


_ending = False  # of a worker: it was told to end


def _unless_ending(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    if _ending:
        raise SystemExit(1)
    return fn(*args, **kwargs)


def _end(*_: object) -> None:
    """End what runs now, without a word. The pool takes the exit for a result, which it may have nobody to give to any
    more, and goes on to the next task, which the flag stops."""
    global _ending
    _ending = True
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.exit(1)


@cache
def as_worker() -> None:
    """Have this process end when its parent does, and what it loads from now on compute with one thread, quietly.

    A parent that was killed could not tell it, and it would go on for nobody. There is a worker a core.
    """
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    for name in _THREADS:
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _follow(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _initialise_worker() -> None:
    """Ctrl-C is the parent's to handle, and its end is ours."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    as_worker()
