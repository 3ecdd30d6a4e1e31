"""Other processes: they are killed anywhere, and they want the same at once."""

from __future__ import annotations

import multiprocessing
import shutil
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import ForkServerContext

import pytest
from filelock import FileLock

from mlops.errors import ConfigError, SetupError
from mlops.settings import Settings
from tests.training.registered import House, promote_and_die, promote_slowly, roll_back_and_die
from training import registry
from training.registry import lock

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """What makes processes that have imported the registry already, and what it loads when it is first asked."""
    context = multiprocessing.get_context("forkserver")
    stores = [f"mlflow.store.{kind}.sqlalchemy_store" for kind in ("tracking", "model_registry")]
    context.set_forkserver_preload(["tests.training.registered", *stores])
    return context


class Snapshot:
    """What a registry was, to begin again from."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.folder = settings, settings.home / "snapshot"
        self.folder.mkdir()
        shutil.copyfile(settings.home / "mlflow.db", self.folder / "mlflow.db")
        shutil.copytree(settings.pointer.parent, self.folder / "deployments")

    def restore(self) -> None:
        shutil.copyfile(self.folder / "mlflow.db", self.settings.home / "mlflow.db")
        shutil.rmtree(self.settings.pointer.parent)
        shutil.copytree(self.folder / "deployments", self.settings.pointer.parent)


@pytest.mark.system
def test_whatever_write_a_promotion_is_killed_before_promoting_again_brings_it_to_its_end(
    house: House, processes: ForkServerContext
) -> None:
    first = house.register(0)
    house.promote(first)
    second = house.register(1)
    snapshot = Snapshot(house.settings)
    seen = []
    for writes in range(99):
        process = processes.Process(target=promote_and_die, args=(house.settings, second, writes))
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        status = house.status()
        assert all("promote version 2 again" in difference for difference in status.differences)
        assert house.published().is_dir()  # who answers can be read at every moment
        begun = status.changed is not None and status.changed.version == second
        seen.append((status.champion, status.deployment.champion.version, begun))
        assert bool(status.differences) == begun
        assert house.promote(second, by="the one that mended it") == (second, first)
        assert house.status().differences == ()
        assert house.steps(first) == ["candidate", "challenger", "champion", "archived"]
        assert house.steps(second) == ["candidate", "challenger", "champion"]
        # Once the alias has moved, the promotion is that of the one who began it.
        promoter = "the one that died" if status.champion == second else "the one that mended it"
        assert registry.history(house.settings, second)[-1].by == promoter
        snapshot.restore()
    assert house.status().differences == ()
    assert {("1", "1", False), ("1", "1", True), ("2", "1", True)} == set(seen)
    assert len(seen) >= 8  # bundle, record, alias, two steps of two tags each, challenger, pointer


@pytest.mark.system
def test_whatever_write_a_rollback_is_killed_before_rolling_back_again_brings_it_to_its_end(
    house: House, processes: ForkServerContext
) -> None:
    first = house.register(0)
    house.promote(first)
    second = house.register(1)
    house.promote(second)
    snapshot = Snapshot(house.settings)
    seen = []
    for writes in range(99):
        process = processes.Process(target=roll_back_and_die, args=(house.settings, writes))
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        status = house.status()
        seen.append((status.champion, status.deployment.champion.version))
        assert house.rollback(by="the one that mended it") == (first, second)
        assert house.status().differences == ()
        assert house.steps(first) == ["candidate", "challenger", "champion", "archived", "champion"]
        assert house.steps(second) == ["candidate", "challenger", "champion", "archived"]
        took = "the one that died" if status.champion == first else "the one that mended it"
        assert registry.history(house.settings, first)[-1].by == took
        snapshot.restore()
    assert {("2", "2"), ("1", "2")} == set(seen)
    assert len(seen) >= 6  # record, alias, two steps of two tags each, pointer
    assert house.rollback() == (second, first)  # one that came to its end is undone


def test_a_promotion_that_was_killed_is_finished_before_a_challenger_is_withdrawn(
    house: House, processes: ForkServerContext
) -> None:
    first = house.register(0)
    process = processes.Process(target=promote_and_die, args=(house.settings, first, 3))  # after the alias
    process.start()
    process.join()
    assert house.status().challenger == first
    registry.withdraw_challenger(house.settings)
    assert house.steps(first) == ["candidate", "challenger", "champion"]
    assert house.status().challenger is None


def test_a_promotion_after_one_that_was_killed_is_refused_unless_judged_against_that_one(
    house: House, processes: ForkServerContext
) -> None:
    house.promote(house.register(0))
    second, third = house.register(1), house.register(2)
    process = processes.Process(target=promote_and_die, args=(house.settings, second, 3))  # after the alias
    process.start()
    process.join()
    assert house.status().champion == second
    with pytest.raises(ConfigError, match="today's champion: version 2 is"):
        house.promote(third)
    assert house.rollback() == ("1", second)  # as if it had come to its end
    assert house.status().differences == ()


def test_of_two_promotions_at_once_one_wins(house: House, processes: ForkServerContext) -> None:
    house.promote(house.register(0))
    champion = "1"
    with ProcessPoolExecutor(2, mp_context=processes) as pool:
        for seed in (1, 3):
            rivals = [house.register(seed), house.register(seed + 1)]
            start = time.time() + 1.0
            asked = [pool.submit(promote_slowly, house.settings, version, start) for version in rivals]
            answers = [future.result() for future in asked]
            (winner,) = [version for version, answer in zip(rivals, answers, strict=True) if not answer]
            (refusal,) = filter(None, answers)
            assert f"did not compare it with today's champion: version {winner} is" in refusal
            status = house.status()
            assert (status.champion, status.differences) == (winner, ())
            assert status.deployment.champion.version == winner
            assert status.deployment.previous.version == champion
            assert registry.history(house.settings, winner)[-1].by == f"for {winner}"
            champion = winner


def test_one_that_waits_too_long_for_the_registry_says_what_for(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.register()
    monkeypatch.setattr(lock, "_PATIENCE_S", 0.2)
    with (
        FileLock(house.settings.home / "mlflow.registry.lock"),
        pytest.raises(
            SetupError, match=r"mlflow\.registry\.lock: another process has held it for 0 s; wait for it"
        ),
    ):
        house.promote("1")
    house.promote("1")
