"""How fast networks learn from a table that does not fit into memory, and how much memory that takes."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mlops.contract import Candidate, UseCase, load_dotted, load_use_case
from mlops.features import FeatureSet, Value
from mlops.policy import Policy, Split
from mlops.schema import Column, EventSchema, Label
from mlops.settings import Settings
from mlops.storage import write_json
from mlops.tables import FeatureTable, day_folder, write_table_meta
from training.dataset import Span
from training.examples import ArrayExamples, Batch, Examples
from training.table_examples import TableExamples
from training.trainers import Place, trainer_for

__all__ = ["FitBench", "Table", "TrainingBench", "bench_training"]

T = TypeVar("T")

_START = datetime(2018, 4, 1, tzinfo=UTC)
_BATCH = 512


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """The table to learn from: `rows_a_day` rows a day of so many features, of which next to nothing compresses."""

    days: int = 30
    rows_a_day: int = 370_000
    features: int = 60
    days_in_memory: int = 3


class FitBench(msgspec.Struct, frozen=True, kw_only=True):
    """An epoch in a process of its own.

    Fields:
        framework: which; "" only reads.
        source: `memory`, for some days of the table, or `table`, for all of it, which is streamed.
        rows_a_second: while it learned.
        peak_mb: of resident memory, from the start of the process to its end.
    """

    framework: str
    device: str
    source: str
    rows: int
    rows_a_second: float
    peak_mb: float


class TrainingBench(msgspec.Struct, frozen=True, kw_only=True):
    """All fits, of the use case's candidates. `gpu_to_cpu` compares PyTorch's speeds in memory, where there is a GPU.

    `load_before` is the load average of the minute before: above 0.5 times are not to be trusted.
    """

    table_gb: float
    rows: int
    features: int
    batch_size: int
    cores: int
    load_before: float
    fits: list[FitBench]
    gpu_to_cpu: float | None


def bench_training(
    out: Path,
    table: Table | None = None,
    frameworks: Sequence[str] = ("pytorch", "tensorflow"),
    *,
    say: Callable[[str], None] = lambda _: None,
) -> TrainingBench:
    """Learn for an epoch from a table of 5 GB and from days of it in memory; write `out`/training.json.

    The table lies in `out` until this ends.
    """
    table = table or Table()
    load_before, fits = os.getloadavg()[0], []
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix="table-") as held:
        folder = Path(held)
        say("writing the table")
        size = _write(folder, table)
        for framework in ("", *frameworks):
            for source in ("memory", "table") if framework else ("table",):
                say(f"{framework or 'reading'}, {source}")
                fits.append(_apart(_fit, folder, table, framework, source))
        if _apart(_gpu):
            for source in ("memory", "table"):
                say(f"pytorch on the GPU, {source}")
                fits.append(_apart(_fit, folder, table, "pytorch", source, gpu=True))
    result = TrainingBench(
        table_gb=round(size / 1e9, 2),
        rows=table.days * table.rows_a_day,
        features=table.features,
        batch_size=_BATCH,
        cores=os.cpu_count() or 1,
        load_before=round(load_before, 2),
        fits=fits,
        gpu_to_cpu=_ratio(fits),
    )
    write_json(out / "training.json", result)
    return result


def _ratio(fits: list[FitBench]) -> float | None:
    speeds = {
        fit.device == "cpu": fit.rows_a_second
        for fit in fits
        if (fit.framework, fit.source) == ("pytorch", "memory")
    }
    return round(speeds[False] / speeds[True], 2) if len(speeds) == 2 else None


def _use_case(table: Table) -> UseCase:
    names = [f"x{place:02d}" for place in range(table.features)]
    return UseCase(
        name="bench",
        title="Benchmark",
        events=EventSchema(
            id="id",
            time="at",
            columns=(
                Column(name="id", type="id"),
                Column(name="at", type="timestamp"),
                Column(name="positive", type="boolean", nullable=True),
                *(Column(name=name, type="float") for name in names),
            ),
        ),
        label=Label(column="positive"),
        features=FeatureSet(tuple(Value(column=name) for name in names)),
        candidates=(Candidate(name="none", framework="none", builder="none"),),
        policy=Policy(split=Split(train_days=table.days, delay_days=0, test_days=1)),
    )


def _write(folder: Path, table: Table) -> int:
    """The table's size in bytes."""
    rng, size = np.random.default_rng(0), 0
    features = _use_case(table).features
    for day in range(table.days):
        start, n = _START + timedelta(days=day), table.rows_a_day
        values = rng.lognormal(size=(table.features, n))
        columns = {
            "id": pa.array(np.arange(day * n, (day + 1) * n)),
            "at": pa.array(
                int(start.timestamp()) * 10**6 + np.sort(rng.integers(0, 86_400 * 10**6, n)),
                pa.timestamp("us", "UTC"),
            ),
            "positive": pa.array(values[0] > 5 * values[1]),
            **{name: pa.array(column) for name, column in zip(features.names, values, strict=True)},
        }
        file = day_folder(folder, start.date().isoformat()) / "part-0.parquet"
        file.parent.mkdir()
        pq.write_table(pa.table(columns), file, compression="zstd")
        size += file.stat().st_size
    meta = FeatureTable(
        rows=table.days * table.rows_a_day,
        unlabelled=0,
        features=features,
        events=(),
        whole_number_ids=("id",),
        fingerprint="bench",
    )
    write_table_meta(folder, meta)
    return size


def _apart(function: Callable[..., T], *arguments: Any, **chosen: Any) -> T:
    """What a function gives in a process of its own, which has no other's memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *arguments, **chosen).result()


def _gpu() -> str:
    """The GPU's name, if there is one."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


class _Timed:
    """Examples that know how long an epoch of them took, without what the trainer does before and after."""

    def __init__(self, examples: Examples) -> None:
        self._examples, self.seconds = examples, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._examples, name)

    def __len__(self) -> int:
        return len(self._examples)

    def batches(self, size: int, **chosen: Any) -> Iterator[Batch]:
        started = time.perf_counter()
        yield from self._examples.batches(size, **chosen)
        self.seconds = time.perf_counter() - started


def _fit(folder: Path, table: Table, framework: str, source: str, *, gpu: bool = False) -> FitBench:
    if not gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    days = table.days if source == "table" else table.days_in_memory
    use_case = _use_case(table)
    span = Span(start=_START, end=_START + timedelta(days=table.days), awaited=None)
    examples: Examples = TableExamples(
        folder, ds.dataset(folder, format="parquet"), use_case, use_case.features, span, days
    )
    if source == "memory":
        examples = ArrayExamples(*examples.arrays())
    timed = _Timed(examples)
    if framework:
        candidates = load_use_case(Settings.from_env().usecase).candidates
        candidate = next(c for c in candidates if c.framework == framework)
        params = {**candidate.params, "epochs": 1, "batch_size": _BATCH, "patience": 0}
        builder = load_dotted(candidate.builder)
        trainer_for(framework)(
            builder,
            params,
            timed,
            task="classification",
            seed=0,
            place=Place(log=lambda *_: None),
        )
    else:
        for _ in timed.batches(_BATCH, epoch=0, seed=0):
            pass
    return FitBench(
        framework=framework,
        device=_gpu() if gpu else "cpu",
        source=source,
        rows=len(examples),
        rows_a_second=round(len(examples) / timed.seconds),
        peak_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    )
