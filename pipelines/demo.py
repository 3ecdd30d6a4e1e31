"""The whole loop, once: from raw events to a model that is served, watched and retrained.

Read `_Loop.run` from top to bottom. Days count from the first simulated day, 0. The world is simulated ahead, but each
step sees only what would be there on its day: events that happened, and labels that were due. The first 58 days are
an archive whose labels are complete.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec

from mlops.contract import load_use_case
from mlops.deployment import read_deployment
from mlops.errors import ConfigError, MlopsError
from mlops.settings import Settings
from mlops.storage import write_json
from monitoring.monitor import monitor
from monitoring.page import render
from monitoring.performance import between, measure_performance, read_table
from monitoring.results import MonitorResult, PerformanceResult
from pipelines import lifecycle, spark
from pipelines.demo_days import (
    CALENDAR_KNOBS,
    CHANGE_DAY,
    DEMO_WORLD,
    LAST_LABELS,
    LAST_REPLAYED,
    RETRAIN_DAY,
    SERVE_DAY,
    TEST_DAY,
    TRAIN_DAY,
)
from pipelines.demo_results import PAGE, SUMMARY, Facts, Summary, alerts_told, rows_told, summarise
from pipelines.demo_story import measure_periods, tell_story
from pipelines.engine import Engine
from pipelines.parity import ParityResult
from pipelines.ports import free_port
from pipelines.prefect import PrefectEngine, run_as_flow
from pipelines.replay import Recording, ReplayResult, replay
from pipelines.retrain import compute_live_features, due_request, retrain
from pipelines.server import running_server
from pipelines.simulate import chosen_world
from pipelines.view import View
from pipelines.watching import collect_logs, compare_served, live_tables
from pipelines.workers import workers

__all__ = ["run_demo"]

WEEK = 7
SWAP_PATIENCE_S = 20.0
SINGLES = 1000  # how many events of the quiet week are sent one by one
ASK_EVERY = 25  # requests between two looks at which model answers


def run_demo(
    settings: Settings, view: View, *, seed: int = 0, world: Mapping[str, Any] | None = None
) -> Summary:
    """Run the loop as a Prefect flow in `settings.home`, which is emptied first.

    Args:
        world: knobs of the use case's simulator that differ from `DEMO_WORLD`.

    The demo has a registry and keys of its own, whatever the settings name.

    Raises:
        ConfigError: the home holds something else than a demo, another demo runs there, the use case has no such
            world, or a knob would change the calendar. Nothing is removed then.
    """
    started = time.monotonic()
    if fixed := CALENDAR_KNOBS & set(world or {}):
        raise ConfigError(f"the demo's calendar is fixed: {', '.join(sorted(fixed))}", where="--set")
    knobs = {**DEMO_WORLD, **(world or {}), "seed": seed}
    chosen_world(settings, knobs)  # before an earlier demo is removed
    settings = msgspec.structs.replace(settings, tracking_uri="", signing_key="")
    home = settings.home
    with ExitStack() as stack:
        stack.enter_context(_emptied(home))
        stack.enter_context(view)
        starting = stack.enter_context(ExitStack())
        starting.enter_context(view.step("start Prefect"))
        loop = _Loop(settings, knobs, view, ready=starting.close)
        stack.callback(spark.stop)
        meanwhile = stack.enter_context(ThreadPoolExecutor(1))
        meanwhile.submit(spark.session, settings)  # the JVM starts while Prefect's server does
        stack.callback(spark.stop)  # before who starts it is waited for: a start that hangs is given up
        facts = run_as_flow("demo", loop.run, home=home / "prefect")
        with view.step("report"):
            periods = measure_periods(settings, facts)
            seconds = time.monotonic() - started
            summary = summarise(facts, periods, stages=view.seconds, seconds=seconds)
            render(tell_story(settings, facts, summary, periods), home / PAGE)
            write_json(home / SUMMARY, summary)
    return summary


@contextmanager
def _emptied(home: Path) -> Iterator[None]:
    """Empty a home that only the demo uses, and keep other demos out of it until the block ends."""
    mark = home / ".demo"
    if home.exists() and any(home.iterdir()) and not mark.exists():
        raise ConfigError("holds something else than a demo", where=home, todo="choose another --out")
    home.mkdir(parents=True, exist_ok=True)
    with mark.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError("another demo runs here", where=home, todo="choose another --out") from None
        for path in home.iterdir():
            if path != mark:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield


class _Loop:
    """The steps of the demo, and what they share: settings, the knobs of the world, and where things lie."""

    def __init__(
        self, settings: Settings, knobs: Mapping[str, Any], view: View, ready: Callable[[], None]
    ) -> None:
        self.settings, self.knobs, self.view, self.ready = settings, knobs, view, ready
        self.use_case = load_use_case(settings.usecase)
        self.engine: Engine = PrefectEngine(view)
        home = settings.home
        self.world, self.archive = home / "world", home / "archive"
        self.live = live_tables(settings)

    def run(self) -> Facts:
        """The loop. Prefect runs this function as a flow, and each of its steps as a task."""
        self.ready()
        step, note, settings, seed = self.engine.run, self.view.note, self.settings, int(self.knobs["seed"])
        with ExitStack() as stack:
            pool = stack.enter_context(workers())

            step("simulate", self.simulate)
            validated = step("validate", lifecycle.validate_events, settings, self.archive)
            note(rows_told(validated))
            step("features", lifecycle.compute_features, settings)
            trained = step("train", lifecycle.train, settings, self.day(TRAIN_DAY), pool=pool, seed=seed)
            released = step("gate", lifecycle.release, settings, trained, pool=pool)
            if released.version is None:
                raise MlopsError("the gate admitted no candidate", where=settings.home / lifecycle.RELEASE)
            note(released.sentence)
            step("backfill", lifecycle.fill_store, settings, released.version)
            before = step("promote", lifecycle.promote, settings, released.version)

            url = stack.enter_context(running_server(settings, port=free_port()))
            world = self.recording()
            sent = [step("replay a quiet week", self.replay, world, url, SERVE_DAY, CHANGE_DAY - 1, SINGLES)]
            parity = step("compare features", self.compare_features)
            note(f"largest difference {parity.max_abs_diff:g} over {parity.compared:,} events")
            self.say_alerts(step("monitor the quiet week", self.monitor_quiet_week, pool))

            sent.append(
                step("replay the changed weeks", self.replay, world, url, CHANGE_DAY, RETRAIN_DAY - 1)
            )
            parity_later = step("compare features again", self.compare_features)
            drift = step("monitor drift", self.monitor_drift, pool)
            self.say_alerts(drift)
            loss = step("monitor performance", self.monitor_loss, pool)
            self.say_alerts(loss)

            retraining = None
            if (request := due_request(settings, self.day(RETRAIN_DAY))) is not None:
                retraining = retrain(self.engine, settings, request, pool=pool, seed=seed)
                note(retraining.release.sentence)
            version = retraining.release.version if retraining else None
            sent.append(step("replay and swap", self.replay_and_swap, world, url, version))
            sent.append(step("replay the last days", self.replay, world, url, RETRAIN_DAY + 1, LAST_REPLAYED))
            sent.append(step("send the last labels", self.send_labels, world, url))
            step("collect", self.collect)
            after = read_deployment(settings.pointer) or before
        return Facts(
            use_case=self.use_case,
            seed=seed,
            knobs=dict(self.knobs),
            day_zero=self.day(0),
            validated=validated,
            trained=trained,
            released=released,
            before=before,
            after=after,
            replays=tuple(sent),
            parity=(parity, parity_later),
            drift=drift,
            loss=loss,
            retraining=retraining,
            served=self.live.served,
            labels=self.live.labels,
        )

    def say_alerts(self, result: MonitorResult) -> None:
        """Say what monitoring found."""
        self.view.note(alerts_told(result, self.day(0)))

    def simulate(self) -> None:
        """Simulate the world; the files of the first days are the archive that the platform starts from."""
        lifecycle.simulate(self.settings, self.knobs, self.world)
        self.archive.mkdir()
        for file in self.files()[:SERVE_DAY]:
            shutil.copy(file, self.archive)

    def files(self) -> list[Path]:
        """The world's files, one a day."""
        return sorted(self.world.glob("[0-9]*.parquet"))

    def recording(self) -> Recording:
        """What happens from the first served day on."""
        return Recording(self.files()[SERVE_DAY:], self.use_case.events, self.use_case.label)

    def day(self, number: int) -> date:
        """The date of a day of the world, whose first is 0."""
        return date.fromisoformat(self.files()[number].stem)

    def replay(self, world: Recording, url: str, first: int, last: int, singles: int = 0) -> ReplayResult:
        """Send the days `first` to `last`, and the labels that fall due."""
        return replay(world, url, first_day=self.day(first), last_day=self.day(last), singles=singles)

    def replay_and_swap(self, world: Recording, url: str, version: str | None) -> ReplayResult:
        """Replay the day of the promotion: event by event until the server has swapped, in lists from then on.

        Without a version to promote it is a day like any other.
        """
        day = self.day(RETRAIN_DAY)
        if version is None:
            return replay(world, url, first_day=day, last_day=day)
        asked = 0

        def swapped() -> bool:
            nonlocal asked
            asked += 1
            return asked % ASK_EVERY == 0 and answering(url) == version

        with ThreadPoolExecutor(1) as other:
            promotion = other.submit(lifecycle.promote, self.settings, version)
            sent = replay(world, url, first_day=day, last_day=day, during=swapped)
            promotion.result()
        deadline = time.monotonic() + SWAP_PATIENCE_S
        while answering(url) != version:
            if time.monotonic() > deadline:
                raise MlopsError(
                    f"the server did not swap to version {version}", where=url, todo="see /readyz"
                )
            time.sleep(0.1)
        return sent

    def send_labels(self, world: Recording, url: str) -> ReplayResult:
        """Send the labels that fall due after the last replayed day."""
        first, last = self.day(LAST_REPLAYED + 1), self.day(LAST_LABELS)
        return replay(world, url, first_day=first, last_day=last, events=False)

    def collect(self) -> None:
        """Turn the server's logs into tables."""
        collect_logs(self.settings)

    def compare_features(self) -> ParityResult:
        """Compute with Spark the features of all that was served, and compare them with what was served."""
        self.collect()
        compute_live_features(self.settings, self.day(SERVE_DAY))
        return compare_served(self.settings)

    def midnight(self, day: int) -> datetime:
        """The start of a day of the world, in UTC."""
        return datetime.combine(self.day(0), datetime.min.time(), UTC) + timedelta(days=day)

    def monitor_quiet_week(self, pool: Executor) -> MonitorResult:
        """Nothing has changed yet: the served week against the test week of the training."""
        return self.monitor(pool, SERVE_DAY, as_of=CHANGE_DAY, against=(self.settings.features, TEST_DAY))

    def monitor_drift(self, pool: Executor) -> MonitorResult:
        """A week after the change, before its labels are due: only the features can tell."""
        return self.monitor(pool, CHANGE_DAY, as_of=CHANGE_DAY + WEEK, against=(self.live.served, SERVE_DAY))

    def monitor_loss(self, pool: Executor) -> MonitorResult:
        """A week later the labels are due: average precision against that of the quiet week."""
        normal = self.performance(self.live.served, SERVE_DAY, CHANGE_DAY - 1, as_of=CHANGE_DAY + WEEK).period
        reference = normal.headline.value if normal and normal.headline else None
        return self.monitor(pool, CHANGE_DAY, as_of=CHANGE_DAY + 2 * WEEK, reference_figure=reference)

    def monitor(
        self,
        pool: Executor,
        first: int,
        *,
        as_of: int,
        against: tuple[Path, int] | None = None,
        reference_figure: float | None = None,
    ) -> MonitorResult:
        """Monitor the week from day `first` as things are known at the start of day `as_of`."""
        reference = None
        if against is not None:
            table, day = against
            reference = between(read_table(table), self.use_case.events.time, *self.week(day))
        first_day, last_day = self.week(first)
        return pool.submit(
            monitor,
            served=self.live.served,
            labels=self.live.labels,
            use_case=self.use_case,
            folder=self.settings.monitoring,
            first_day=first_day,
            last_day=last_day,
            as_of=self.midnight(as_of),
            reference=reference,
            reference_figure=reference_figure,
        ).result()

    def week(self, first: int) -> tuple[date, date]:
        """The first and the last date of the week that begins with a day of the world."""
        return self.day(first), self.day(first + WEEK - 1)

    def performance(self, served: Path, first: int, last: int, *, as_of: int) -> PerformanceResult:
        """Performance of the days `first` to `last` as things are known at the start of day `as_of`."""
        return measure_performance(
            served,
            self.live.labels,
            self.use_case,
            as_of=self.midnight(as_of),
            first_day=self.day(first),
            last_day=self.day(last),
        )


def answering(url: str) -> str:
    """The version of the model that answers at `url`."""
    version: str = httpx.get(f"{url}/v1/model", timeout=5).json()["version"]
    return version
