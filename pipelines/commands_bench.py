"""Commands about this machine. Heavy imports wait until one is chosen."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from mlops.contract import EFFORTS, Effort
from mlops.settings import Settings
from pipelines.command_line import show
from pipelines.options import (
    PATH,
    as_json,
    events_option,
)

__all__ = [
    "bench",
    "bench_the_demo",
    "bench_the_features",
    "bench_the_handbook",
    "bench_the_kinds",
    "bench_the_reasons",
    "bench_the_serving",
    "bench_the_simulator",
    "bench_the_stores",
    "bench_the_training",
    "doctor",
]


@click.group()
def bench() -> None:
    """What things cost in time and memory. Written as JSON under runs/bench."""


@bench.command("demo")
@click.option("--out", type=PATH, default=Path("runs/bench"), show_default=True, help="The folder to write.")
@as_json
def bench_the_demo(out: Path, json_: bool) -> None:
    """Wall-clock time and peak memory of the demo."""
    from pipelines.bench import bench_demo

    show(bench_demo(out.absolute()), json_)


@bench.command("simulate")
@click.option("--out", type=PATH, default=Path("runs/bench"), show_default=True, help="The folder to write.")
@as_json
def bench_the_simulator(out: Path, json_: bool) -> None:
    """The simulator, in one process and by Spark's workers. 1.75 and 17.5 million events: time and memory."""
    from pipelines.bench_simulate import bench_simulate

    show(bench_simulate(out.absolute()), json_)


@bench.command("features")
@click.option("--out", type=PATH, default=Path("runs/bench"), show_default=True, help="The folder to write.")
@click.option("--quick", is_flag=True, help="Without the table of 17.5 million events.")
@as_json
@click.pass_obj
def bench_the_features(settings: Settings, out: Path, quick: bool, json_: bool) -> None:
    """Features over history, for a day more, and online. The same in pandas and DuckDB."""
    from pipelines.bench_features import bench_features

    say = partial(print, file=sys.stderr)
    show(bench_features(settings, out.absolute(), quick=quick, say=say), json_)


@bench.command("stores")
@click.option("--out", type=PATH, default=Path("runs/bench"), show_default=True, help="The folder to write.")
@click.option("--store", "others", multiple=True, help="URI of a store to time as well; it must be empty.")
@as_json
def bench_the_stores(out: Path, others: tuple[str, ...], json_: bool) -> None:
    """One read-compute-append of the online store, by engine. With 100,000 keys: LMDB, SQLite, RocksDB, Redis."""
    from pipelines.bench_stores import bench_stores

    show(bench_stores(out.absolute(), others=others), json_)


@bench.command("kinds")
@click.option("--out", type=PATH, default=Path("runs/bench"), show_default=True, help="The folder to write.")
@as_json
def bench_the_kinds(out: Path, json_: bool) -> None:
    """The online store for each kind of aggregate, and a busy key. One read-compute-append of it each."""
    from pipelines.bench_kinds import bench_kinds

    result = bench_kinds(out.absolute(), say=partial(print, file=sys.stderr))
    if json_:
        show(result, json_=True)
        return
    print(f"{'':<18}{'p50 ms':>9}{'p99 ms':>9}{'busy p50':>10}{'busy p99':>10}{'bytes/event':>13}")
    for kind in result.kinds:
        times = f"{kind.p50_ms:>9.3f}{kind.p99_ms:>9.3f}{kind.busy_p50_ms:>10.3f}{kind.busy_p99_ms:>10.3f}"
        print(f"{kind.kind:<18}{times}{kind.bytes_an_event:>13}")


@bench.command("handbook")
@events_option
@click.option("--out", type=PATH, default=Path("runs/bench"), show_default=True, help="The folder to write.")
@click.option(
    "--effort", type=click.Choice(EFFORTS), default="standard", show_default=True, help="How long to look."
)
@as_json
@click.pass_obj
def bench_the_handbook(settings: Settings, events: str, out: Path, effort: Effort, json_: bool) -> None:
    """The published tables A and B, on any data in that layout. Beside the published figures and the ceiling."""
    from pipelines.bench_handbook import bench_handbook
    from pipelines.tables import handbook_table

    say = partial(print, file=sys.stderr)
    result = bench_handbook(settings, events, out.absolute(), effort=effort, say=say)
    if json_:
        show(result, json_=True)
    else:
        print(handbook_table(result))


@bench.command("reasons")
@click.option("--out", type=PATH, default=Path("runs/bench"), show_default=True, help="The folder to write.")
@as_json
@click.pass_obj
def bench_the_reasons(settings: Settings, out: Path, json_: bool) -> None:
    """What reasons for a score cost, and how exact they are. Measured against exact Shapley values."""
    from pipelines.bench_reasons import bench_reasons

    show(bench_reasons(settings, out.absolute()), json_)


@bench.command("serving")
@click.option("--out", type=PATH, default=Path("runs/bench"), show_default=True, help="The folder to write.")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    type=click.Choice(("mlflow", "mlflow-tensor", "mlserver", "bentoml", "none")),
    help="Measure only this other server (may be given again), or none; by default all, which are installed.",
)
@as_json
@click.pass_obj
def bench_the_serving(settings: Settings, out: Path, peers: tuple[str, ...], json_: bool) -> None:
    """What the scoring server does on one core, and others do. Rates, latency, memory; MLflow, MLServer and BentoML."""
    from pipelines.bench_serving import bench_serving
    from pipelines.bench_serving_table import doubts, table
    from pipelines.serving_peers import PEERS

    if "none" in peers and len(peers) > 1:
        raise click.UsageError("--peer none goes with no other")
    chosen = [name for name in dict.fromkeys(peers or PEERS) if name != "none"]
    say = partial(print, file=sys.stderr)
    result = bench_serving(settings, out.absolute(), peers=chosen, say=say)
    for line in doubts(result):
        say(line)
    if json_:
        show(result, json_=True)
    else:
        print(table(result))


@bench.command("training")
@click.option("--out", type=PATH, default=Path("runs/bench"), show_default=True, help="The folder to write.")
@as_json
def bench_the_training(out: Path, json_: bool) -> None:
    """How fast networks learn, from memory and a table of 5 GB. And the memory that takes."""
    from pipelines.bench_training import bench_training

    show(bench_training(out.absolute(), say=partial(print, file=sys.stderr)), json_)


@click.command()
def doctor() -> None:
    """What this machine has and what it lacks."""
    from pipelines.doctor import main as examine

    sys.exit(examine())
