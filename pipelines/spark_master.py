"""Spark's master, as MLOPS_SPARK_MASTER names it: whether it is there, and whether it stays while a job runs."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JError
from pyspark import SparkContext

from mlops.errors import ConfigError, SetupError

__all__ = ["Watch", "see_master", "watched"]

_VARIABLE = "MLOPS_SPARK_MASTER"
_WITHOUT_ADDRESS = re.compile(r"local(\[(\*|\d+)(, ?\d+)?\])?|local-cluster\[.+\]|yarn|k8s://.+")
_STANDALONE = "spark://"
_ANSWER_S = 5.0
_LOOK_S = 5.0
_GRACE_S = 20.0  # a master that is started again answers by then


def see_master(master: str) -> None:
    """See that a standalone cluster's master listens: Spark itself asks for a minute, and tells it in a traceback.

    Raises:
        ConfigError: it is no master that Spark knows.
        SetupError: nobody listens at the address, or at any of several.
    """
    if _WITHOUT_ADDRESS.fullmatch(master):
        return
    failures = []
    for host, port in _addresses(master):
        try:
            socket.create_connection((host, port), timeout=_ANSWER_S).close()
            return
        except (OSError, UnicodeError) as error:  # the second: what no name of a host can be
            failures.append(getattr(error, "strerror", None) or str(error))
    raise SetupError(
        f"no Spark master answers: {failures[0].lower()}",
        where=f"{_VARIABLE}={master}",
        todo="start the cluster, or name another",
    )


class Watch:
    """`lost` names the master of a cluster that had ended, so that the jobs were ended."""

    lost = ""


@contextmanager
def watched() -> Iterator[Watch]:
    """End the jobs of a standalone cluster that ends while the block runs: no executor is left, no master answers.

    Spark itself waits for a master for ever. While it has executors it needs none.
    """
    watch, over = Watch(), threading.Event()
    threading.Thread(target=_follow, args=(watch, over), daemon=True).start()
    try:
        yield watch
    finally:
        over.set()


def _follow(watch: Watch, over: threading.Event) -> None:
    answered = time.monotonic()
    while not over.wait(_LOOK_S):
        context = SparkContext._active_spark_context
        try:
            if context is None:
                answered = time.monotonic()
            elif not context.master.startswith(_STANDALONE):
                return
            elif _has_executors(context) or _answers(context.master):
                answered = time.monotonic()
            elif time.monotonic() - answered > _GRACE_S:
                watch.lost = context.master
                context._jsc.sc().stop()
                return
        except (AttributeError, Py4JError, OSError):
            answered = time.monotonic()  # the session is not whole yet, or not any more


def _has_executors(context: SparkContext) -> bool:
    return int(context._jsc.sc().getExecutorMemoryStatus().size()) > 1  # the driver is one of them


def _answers(master: str) -> bool:
    try:
        see_master(master)
    except SetupError:
        return False
    return True


def _addresses(master: str) -> list[tuple[str, int]]:
    pairs = [
        re.fullmatch(r"(\[[^\[\]]+\]|[^:/@?#\[\]]+):(\d{1,5})", part)
        for part in master.removeprefix(_STANDALONE).split(",")
    ]
    found = [(pair[1].strip("[]"), int(pair[2])) for pair in pairs if pair]
    if not master.startswith(_STANDALONE) or len(found) < len(pairs) or max(p for _, p in found) > 65_535:
        raise ConfigError(
            f"{master!r} is no master of Spark's",
            where=_VARIABLE,
            todo="write local[*], spark://host:port, k8s://… or yarn",
        )
    return found
