"""The subcommands of `mlops`, one a step of the lifecycle; heavy imports wait until one is chosen."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import click
import msgspec

from mlops.errors import ConfigError, InputError, MlopsError
from mlops.settings import Settings
from pipelines.options import (
    DATE,
    PATH,
    as_json,
    delivery_options,
    seed_option,
    train_from_option,
    url_option,
)

__all__ = ["cli"]


class _InOrder(click.Group):
    """Commands in the order of the lifecycle, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--home", type=PATH, help="Where everything lies (MLOPS_HOME, else runs/main).")
@click.option("--usecase", help="The use case's package (MLOPS_USECASE, else usecases.fraud).")
@click.pass_context
def cli(ctx: click.Context, home: Path | None, usecase: str | None) -> None:
    """A machine-learning product through its whole life, one command a step."""
    ctx.obj = Settings.from_env(home=home, usecase=usecase)


def show(result: Any, json_: bool = False) -> None:
    """Print a step's result: as JSON, or a field a line."""
    if json_:
        print(msgspec.json.encode(result, enc_hook=str).decode())  # paths as text
        return
    for name, value in msgspec.to_builtins(result, enc_hook=str).items():
        if isinstance(value, dict):
            value = ", ".join(f"{key}: {part}" for key, part in value.items()) or "none"
        elif isinstance(value, float):
            value = f"{value:.4g}"
        print(f"{name.replace('_', ' '):<22} {value}")


def watched(title: str, step: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run one step, and show on standard error that it runs."""
    from pipelines.engine import LocalEngine
    from pipelines.view import View

    with View(f"mlops {title}") as view:
        return LocalEngine(view).run(title, step, *args, **kwargs)


@cli.command()
@click.option(
    "--out", type=PATH, help="The folder to write, emptied first; --home if that is given, else runs/demo."
)
@seed_option
@click.option("--set", "knobs", metavar="KEY=VALUE", multiple=True, help="A knob of the simulated world.")
@as_json
@click.pass_obj
def demo(settings: Settings, out: Path | None, seed: int, knobs: tuple[str, ...], json_: bool) -> None:
    """The whole loop on simulated payments, from raw events to a retrained model."""
    from pipelines.demo import run_demo
    from pipelines.demo_results import PAGE
    from pipelines.tables import demo_table
    from pipelines.view import View

    chosen = settings.home != Settings.from_env({}).home
    home = out or (settings.home if chosen else Path("runs/demo"))
    settings = msgspec.structs.replace(settings, home=home.absolute())
    summary = run_demo(settings, View("The loop"), seed=seed, world=_knobs(knobs))
    if json_:
        show(summary, json_=True)
        return
    print(demo_table(summary))
    print(f"The story in pictures: {settings.home / PAGE}")
    print(f"Its champion, served:  {Path(sys.argv[0])} --home {settings.home} serve")


@cli.command()
@click.option("--events", type=PATH, required=True, help="A Parquet or CSV file, or a folder of them.")
@click.option("--out", type=PATH, help="The home to write, instead of --home.")
@train_from_option
@delivery_options
@seed_option
@as_json
@click.pass_obj
def run(
    settings: Settings,
    events: Path,
    out: Path | None,
    train_from: date | None,
    as_of: date | None,
    force: bool,
    seed: int,
    json_: bool,
) -> None:
    """From a file of events to a champion: validate, features, train, gate, promote."""
    from pipelines import lifecycle
    from pipelines.engine import LocalEngine
    from pipelines.report import shown_if_refused
    from pipelines.tables import run_table
    from pipelines.view import View

    if out is not None:
        settings = msgspec.structs.replace(settings, home=out.absolute())
    with shown_if_refused(), View("From events to a champion") as view:
        result = lifecycle.run(
            LocalEngine(view), settings, events, train_from=train_from, seed=seed, as_of=as_of, force=force
        )
    if json_:
        show(result, json_=True)
    else:
        print(run_table(result))
    if result.release.version is None:
        raise MlopsError("the gate admitted no candidate", where=settings.home / lifecycle.RELEASE)


@cli.command()
@click.argument("out", type=PATH)
@seed_option
@click.option(
    "--set", "knobs", metavar="KEY=VALUE", multiple=True, help="A knob of the world, such as customers=500."
)
@click.option("--spark", is_flag=True, help="Let Spark's workers write the files, for worlds of many events.")
@as_json
@click.pass_obj
def simulate(
    settings: Settings, out: Path, seed: int, knobs: tuple[str, ...], spark: bool, json_: bool
) -> None:
    """Write simulated events, one file a day, into the folder OUT."""
    from pipelines import simulate as step

    world = {**_knobs(knobs), "seed": seed}
    show(watched("simulate", step.simulate, settings, world, out, on_spark=spark), json_)


@cli.command()
@click.option("--events", type=PATH, required=True, help="A Parquet or CSV file, or a folder of them.")
@delivery_options
@as_json
@click.pass_obj
def validate(settings: Settings, events: Path, as_of: date | None, force: bool, json_: bool) -> None:
    """Check events against the schema; bad rows go to the quarantine with the reason."""
    from pipelines import lifecycle
    from pipelines.report import shown_if_refused, validation_table

    with shown_if_refused():
        result = watched("validate", lifecycle.validate_events, settings, events, as_of=as_of, force=force)
    if json_:
        show(result, json_=True)
    else:
        print(validation_table(result))


@cli.command()
@as_json
@click.pass_obj
def features(settings: Settings, json_: bool) -> None:
    """Compute the feature table of the validated events."""
    from pipelines import lifecycle

    show(watched("features", lifecycle.compute_features, settings), json_)


@cli.command()
@train_from_option
@click.option("--candidate", "only", multiple=True, help="Only this candidate; may be repeated.")
@seed_option
@as_json
@click.pass_obj
def train(settings: Settings, train_from: date | None, only: tuple[str, ...], seed: int, json_: bool) -> None:
    """Train the candidates, and send them through the gate into the registry."""
    from pipelines import lifecycle
    from pipelines.tables import release_table

    with lifecycle.workers() as pool:
        first_day = train_from or lifecycle.default_training_day(settings)
        results = watched("train", lifecycle.train, settings, first_day, pool=pool, seed=seed, only=only)
        outcome = watched("gate", lifecycle.release, settings, results, pool=pool)
    if json_:
        show({"candidates": results, "release": outcome}, json_=True)
    else:
        print(release_table(results, outcome))


@cli.command()
@click.argument("version", required=False)
@click.option("--rollback", is_flag=True, help="Go back to the champion before this one.")
@as_json
@click.pass_obj
def promote(settings: Settings, version: str | None, rollback: bool, json_: bool) -> None:
    """Make VERSION (by default the challenger) the champion that serving follows."""
    from pipelines import lifecycle
    from training import registry

    if rollback:
        show(registry.rollback(settings), json_)
        return
    version = version or registry.status(settings).challenger or registry.status(settings).champion
    if version is None:
        raise ConfigError(
            "there is no version to promote", where=settings.mlflow_uri, todo="train one: mlops train"
        )
    watched("backfill", lifecycle.fill_store, settings, version)
    show(watched("promote", lifecycle.promote, settings, version), json_)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one."
)
@click.pass_obj
def serve(settings: Settings, host: str, port: int) -> None:
    """Serve the champion over HTTP until Ctrl-C."""
    from pipelines.server import command, environment

    if not settings.pointer.exists():
        raise ConfigError(
            "no champion to serve", where=settings.pointer, todo="promote one: mlops run, mlops promote"
        )
    line = command(settings, host=host, port=port)
    os.execve(line[0], line, environment(settings))


@cli.command()
@click.option("--events", type=PATH, required=True, help="Parquet or CSV, a file or a folder of files.")
@url_option
@click.option("--from", "first_day", type=DATE, required=True, help="First day to replay.")
@click.option("--to", "last_day", type=DATE, required=True, help="Last day to replay.")
@click.option(
    "--singles", default=0, show_default=True, help="Send so many events one by one, the others in lists."
)
@as_json
@click.pass_obj
def replay(
    settings: Settings, events: Path, url: str, first_day: date, last_day: date, singles: int, json_: bool
) -> None:
    """Send past events to a running server as if they happened now, and labels when they are due."""
    from mlops.contract import load_use_case
    from pipelines.replay import Recording
    from pipelines.replay import replay as send

    use_case = load_use_case(settings.usecase)
    recording = Recording([events], use_case.events, use_case.label)
    result = watched("replay", send, recording, url, first_day=first_day, last_day=last_day, singles=singles)
    show(result, json_)
    if result.failed:
        raise MlopsError(
            f"{result.failed} of {result.requests} requests failed", where=url, todo=result.errors[0]
        )


@cli.command()
@click.option("--as-of", type=DATE, required=True, help="Look as things are known at the start of this day.")
@click.option("--from", "first_day", type=DATE, help="First day looked at; by default a week before --as-of.")
@click.option("--to", "last_day", type=DATE, help="Last day looked at; by default the day before --as-of.")
@click.option("--against", type=DATE, help="First day of the normal period, as long as the one looked at.")
@as_json
@click.pass_obj
def monitor(
    settings: Settings,
    as_of: date,
    first_day: date | None,
    last_day: date | None,
    against: date | None,
    json_: bool,
) -> None:
    """Drift and performance of what was served; writes reports, alerts and retrain requests."""
    from pipelines import watching
    from pipelines.tables import monitor_table

    result = watched(
        "monitor",
        watching.monitor_served,
        settings,
        as_of=as_of,
        first_day=first_day,
        last_day=last_day,
        against=against,
    )
    if json_:
        show(result, json_=True)
    else:
        print(monitor_table(result))


@cli.command()
@click.option("--as-of", type=DATE, help="Act as on this day; today by default.")
@seed_option
@as_json
@click.pass_obj
def retrain(settings: Settings, as_of: date | None, seed: int, json_: bool) -> None:
    """Act on monitoring's request: train on what was served, gate, register. Promotion stays yours."""
    from pipelines import lifecycle
    from pipelines.engine import LocalEngine
    from pipelines.retrain import compute_live_features, due_request
    from pipelines.retrain import retrain as act
    from pipelines.tables import release_table
    from pipelines.view import View
    from pipelines.watching import collect_logs

    request = due_request(settings, as_of or date.today())
    if request is None:
        raise InputError(
            "no request is due", where=settings.monitoring, todo="`mlops monitor` makes one if needed"
        )
    with View("mlops retrain") as view, lifecycle.workers() as pool:
        engine = LocalEngine(view)
        engine.run("collect", collect_logs, settings)
        engine.run("features", compute_live_features, settings, date.fromisoformat(request.train_from))
        outcome = act(engine, settings, request, pool=pool, seed=seed)
    if json_:
        show(outcome, json_=True)
    else:
        print(release_table(outcome.candidates, outcome.release))


@cli.command()
@as_json
@click.pass_obj
def report(settings: Settings, json_: bool) -> None:
    """Write an HTML page of each look that monitoring took."""
    from pipelines.watching import write_reports

    pages = write_reports(settings)
    if json_:
        show(pages, json_=True)
    else:
        print("\n".join(str(page) for page in pages))


@cli.command()
@as_json
@click.pass_obj
def status(settings: Settings, json_: bool) -> None:
    """Which model should answer, which one does, and where the two differ."""
    from training import registry

    show(registry.status(settings), json_)


@cli.group()
def bench() -> None:
    """What things cost in time and memory, as JSON under runs/bench."""


@bench.command("demo")
@click.option("--out", type=PATH, default=Path("runs/bench"), show_default=True, help="The folder to write.")
@as_json
def bench_the_demo(out: Path, json_: bool) -> None:
    """Wall-clock time and peak memory of the demo, all processes together."""
    from pipelines.bench import bench_demo

    show(bench_demo(out.absolute()), json_)


@cli.command()
def doctor() -> None:
    """What this machine has and what it lacks."""
    from pipelines.doctor import main as examine

    sys.exit(examine())


def _knobs(pairs: tuple[str, ...]) -> dict[str, Any]:
    knobs: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"{pair!r} is not KEY=VALUE", where="--set")
        try:
            knobs[name] = msgspec.json.decode(text)
        except msgspec.DecodeError:
            knobs[name] = text
    return knobs
