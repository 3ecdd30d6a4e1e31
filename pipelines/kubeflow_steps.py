"""How a task takes its step: as of which day, and how often again."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from typing import ParamSpec, TypeVar

from mlops.errors import ConfigError, SetupError
from pipelines.parameters import day

__all__ = ["RETRIES", "TODAY", "fresh_day", "not_in_loop", "tried"]

TODAY = "today"
RETRIES = "STEP_RETRIES"  # the variable that says how often, and after how many seconds first

P = ParamSpec("P")
R = TypeVar("R")


def fresh_day(text: str) -> date | None:
    """The day as of which a delivery has to be fresh: `today` is that on which the task runs (UTC), empty is none.

    Raises:
        ConfigError: it is neither that nor a date.
    """
    return datetime.now(UTC).date() if text == TODAY else day(text, "as_of")


def tried(step: Callable[P, R]) -> Callable[P, R]:
    """The step, taken again within its process where what it lacks may be there later, as often as RETRIES says.

    For steps in loops, whose tasks a cluster may not try again. What the platform refuses it would refuse again.
    """

    def take(*args: P.args, **kwargs: P.kwargs) -> R:
        times, _, seconds = os.environ.get(RETRIES, "0 0").partition(" ")
        for number in range(int(times)):
            try:
                return step(*args, **kwargs)
            except (SetupError, OSError) as error:
                wait = float(seconds) * 2**number
                print(f"mlops: {error}: tried again in {wait:g} s", file=sys.stderr)
                time.sleep(wait)
        return step(*args, **kwargs)

    return take


def not_in_loop(names: Iterable[str], *, accelerated: bool) -> ConfigError:
    """What is wrong with candidates of which none is trained with, or without, an accelerator: a loop over none."""
    here, other = ("with", "without") if accelerated else ("without", "with")
    return ConfigError(
        f"none of {', '.join(names)} is trained {here} an accelerator",
        where="candidates",
        todo=f"ask for one more, or for a pipeline that was compiled {other} --accelerate",
    )
