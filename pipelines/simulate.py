"""The simulator as a step: the use case's own world, written by this process or by Spark's.

The simulator splits its work into tasks that know nothing of each other. Spark runs them where its workers are, the
tasks write the files, and the driver gets back what they counted: the same bytes, from any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from pyspark.sql import SparkSession

from mlops.contract import load_dotted, load_use_case
from mlops.errors import ConfigError
from mlops.misfit import misfit
from mlops.settings import Settings
from mlops.storage import is_remote
from pipelines.remote import shown
from pipelines.spark import readable_errors, session
from pipelines.staged import delivered

__all__ = ["chosen_world", "simulate", "spark_map"]


def simulate(settings: Settings, knobs: Mapping[str, Any], out: str | Path, *, on_spark: bool = False) -> Any:
    """Write the events of the use case's simulated world into `out`, a path or URI.

    Args:
        knobs: fields of the use case's world.
        on_spark: let Spark's workers do it; they must see `out`, a path, as it is here, and the use case's package.

    Raises:
        ConfigError: see `chosen_world`.
    """
    world = chosen_world(settings, knobs)
    write = load_dotted(load_use_case(settings.usecase).simulator)
    with delivered(out) as folder, readable_errors():
        result = write(world, folder, spark_map(session(settings)) if on_spark else map)
    return msgspec.structs.replace(result, uri=shown(str(out))) if is_remote(out) else result


def chosen_world(settings: Settings, knobs: Mapping[str, Any]) -> Any:
    """The use case's world with these knobs.

    Raises:
        ConfigError: the use case has no simulator, or a knob is unknown, of the wrong type or out of its range.
    """
    use_case = load_use_case(settings.usecase)
    if not use_case.simulator:
        raise ConfigError(
            "has no simulator", where=settings.usecase, todo="its events are delivered: see --events"
        )
    kind = load_dotted(use_case.world)
    if unknown := set(knobs) - set(kind.__struct_fields__):
        raise ConfigError(
            f"no knob {', '.join(sorted(unknown))}",
            where=use_case.world,
            todo=f"there are {', '.join(kind.__struct_fields__)}",
        )
    try:
        return msgspec.convert(dict(knobs), kind)
    except msgspec.ValidationError as error:
        said, where = misfit(error, knobs, kind)
        raise ConfigError(said, where=where) from None


def spark_map(spark: SparkSession) -> Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]:
    """A `map` whose calls run on Spark's workers, one task a call; arguments and results must fit into the driver."""

    def run(function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        return spark.sparkContext.parallelize(tasks, len(tasks)).map(function).collect()

    return run
