"""The registry on PostgreSQL, and the runbook's commands as they stand there."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import ProgrammingError

from mlops.errors import ConfigError, SetupError
from mlops.settings import Settings
from tests.serving.example import ROOT
from tests.system.postgresql_server import ADMINISTRATOR, PASSWORD, PostgresqlServer, running_postgresql
from tests.training import example
from tests.training.registered import House, Models, promote_and_die, promote_slowly
from training import registry, tracking
from training.copy_record import copy_record
from training.registry import champion

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
RUNBOOK = ROOT / "docs" / "runbooks" / "mlflow-postgresql.md"
OLDER = "1b5f0d9ad7c1"


class Shell:
    """Runs the commands under a heading of the runbook, one heading after another in one environment."""

    def __init__(self, server: PostgresqlServer, folder: Path, settings: Settings) -> None:
        backup = folder / "backup"
        backup.mkdir()
        self._after = folder / "environment"
        passwords = folder / "passwords"
        passwords.write_text(f"127.0.0.1:{server.port}:*:{ADMINISTRATOR}:{PASSWORD}\n")
        passwords.chmod(0o600)
        self.env = {
            **{key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ},
            **server.env,
            "HOME": str(folder),
            "PGPASSFILE": str(passwords),
            "BACKUP": str(backup),
            "MLOPS_PASSWORD": "kept secret",
            "MLOPS_HOME": str(settings.home),
            "MLOPS_USECASE": settings.usecase,
            "MLOPS_SIGNING_KEY": settings.signing_key,
            "MLOPS_USER": "tester",
        }

    def run(self, heading: str) -> str:
        """Run the blocks under a heading; return what they printed."""
        section = re.split(r"^## ", RUNBOOK.read_text(), flags=re.MULTILINE)
        (page,) = [part for part in section if part.startswith(heading + "\n")]
        commands = "\n".join(re.findall(r"^```sh\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL))
        return self.say(commands.replace(".venv/bin/", f"{Path(sys.executable).parent}/"))

    def say(self, commands: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{commands}\nenv -0 > '{self._after}'"],
            cwd=ROOT,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            start_new_session=True,  # who asks for a password finds no terminal
        )
        assert done.returncode == 0, done.stderr
        self.env = dict(line.split("=", 1) for line in self._after.read_text().split("\0") if line)
        return done.stdout


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with running_postgresql() as server:
        yield server


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def empty(server: PostgresqlServer) -> str:
    """The name of a database with MLflow's tables and nothing in them; making them takes seconds."""
    admin(server, "CREATE DATABASE empty")
    tracking.client(Settings(tracking_uri=uri(server, "empty")))
    forget_connections()
    return "empty"


@pytest.fixture
def house(server: PostgresqlServer, empty: str, models: Models, tmp_path: Path) -> Iterator[House]:
    """A home with a database of its own."""
    name = f"house_{time.time_ns()}"
    admin(server, f"CREATE DATABASE {name} TEMPLATE {empty}")
    settings = msgspec.structs.replace(example.settings(tmp_path / "home"), tracking_uri=uri(server, name))
    yield House(settings, models)
    server.start_again()
    forget_connections()


def uri(server: PostgresqlServer, database: str) -> str:
    return f"postgresql+psycopg://{ADMINISTRATOR}:{quote(PASSWORD)}@127.0.0.1:{server.port}/{database}"


def admin(server: PostgresqlServer, *statements: str, database: str = "postgres") -> list[tuple[object, ...]]:
    """Statements of the administrator's; the rows of the last one."""
    engine = create_engine(uri(server, database), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            results = [connection.execute(text(statement)) for statement in statements]
            return [tuple(row) for row in results[-1]] if results[-1].returns_rows else []
    finally:
        engine.dispose()


def forget_connections() -> None:
    """Close what MLflow keeps open: a database with connections is no template."""
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Runs

    for engine in (*Registry._engine_map.values(), *Runs._engine_map.values()):
        engine.dispose()


def test_the_registry_lives_in_it(house: House) -> None:
    first = house.register(0)
    assert house.promote(first, by="ana") == (first, None)
    second = house.register(1)
    assert house.promote(second) == (second, first)
    assert house.rollback() == (first, second)
    assert house.status().differences == ()
    assert house.steps(first) == ["candidate", "challenger", "champion", "archived", "champion"]
    assert house.source(first).is_relative_to(house.settings.artifacts)


def test_of_two_promotions_at_once_from_two_machines_one_wins(house: House) -> None:
    """Two homes, so no file that they could share a lock on."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.registered"])
    here = house.settings
    there = msgspec.structs.replace(here, home=here.home.parent / "there")
    house.promote(house.register(0))
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        for seed in (1, 3):
            rivals = [house.register(seed), house.register(seed + 1)]
            start = time.time() + 1.0
            asked = [
                pool.submit(promote_slowly, settings, version, start)
                for settings, version in zip((here, there), rivals, strict=True)
            ]
            answers = [future.result() for future in asked]
            (winner,) = [version for version, answer in zip(rivals, answers, strict=True) if not answer]
            (refusal,) = filter(None, answers)
            assert f"did not compare it with today's champion: version {winner} is" in refusal
            assert house.status().champion == winner
            house.promote(winner)  # here as well, if it was there
            assert house.status().differences == ()


def test_a_killed_promotion_lets_go_of_the_lock_and_is_brought_to_its_end(house: House) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.registered"])
    house.promote(house.register(0))
    version = house.register(1)
    for writes in (2, 3):  # before and after the alias
        process = context.Process(target=promote_and_die, args=(house.settings, version, writes))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        (difference, *_) = house.status().differences
        assert "promote version 2 again" in difference
    assert house.promote(version) == ("2", "1")
    assert house.status().differences == ()


def test_a_lost_connection_in_the_middle_is_one_clear_error_and_no_harm(
    house: House, server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.promote(house.register(0))
    version = house.register(1)
    where = rf"postgresql\+psycopg://administrator@127\.0\.0\.1:{server.port}/house_\d+"
    said = f"^{where}: MLflow's database does not answer"
    for step in ("_publish", "record_switch", "settle", "write_deployment"):
        real = getattr(champion, step)

        def gone(*args: object, real: object = real) -> object:
            server.stop()
            return real(*args)  # type: ignore[operator]

        with monkeypatch.context() as patch:
            patch.setattr(champion, step, gone)
            if step == "write_deployment":  # by then all that the database has to know is in it
                house.promote(version)
            else:
                with pytest.raises(SetupError, match=said):
                    house.promote(version)
        server.start_again()
        assert house.status().deployment.champion.version == ("2" if step == "write_deployment" else "1")
    house.promote(version)
    assert house.status().differences == ()


def test_a_run_that_loses_the_database_is_one_clear_error(house: House, server: PostgresqlServer) -> None:
    with (
        pytest.raises(SetupError, match="MLflow's database does not answer"),
        tracking.tracked_run(house.settings, "machines", "a run", {}),
    ):
        server.stop()


def test_a_server_that_is_down_is_told_at_once_and_in_one_line(
    house: House, server: PostgresqlServer
) -> None:
    server.stop()
    began = time.monotonic()
    done = subprocess.run(
        [str(Path(sys.executable).parent / "mlops"), "status"],
        cwd=ROOT,
        env=os.environ
        | {
            "MLOPS_TRACKING_URI": house.settings.tracking_uri,
            "MLOPS_HOME": str(house.settings.home),
            "MLOPS_USECASE": house.settings.usecase,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert time.monotonic() - began < 30
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "MLflow's database does not answer" in line
    assert quote(PASSWORD) not in line


def test_a_held_lock_is_waited_for_and_then_told(
    house: House, server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.postgresql import locked
    from training.registry import lock

    version = house.register()
    monkeypatch.setattr(lock, "_PATIENCE_S", 0.2)
    with (
        locked(house.settings.tracking_uri, "mlops registry machines", patience_s=1),
        pytest.raises(SetupError, match="another process has held the lock 'mlops registry machines'"),
    ):
        house.promote(version)
    assert house.promote(version) == (version, None)


def test_an_error_of_whoever_holds_the_lock_is_not_told_as_a_lost_database(server: PostgresqlServer) -> None:
    from training.postgresql import locked

    with (
        pytest.raises(ProgrammingError, match='relation "nowhere" does not exist'),
        locked(uri(server, "postgres"), "a lock", patience_s=1),
    ):
        admin(server, "SELECT * FROM nowhere")


def test_a_lock_that_was_lost_stops_a_promotion_before_the_alias_moves(
    house: House, server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.promote(house.register(0))
    version = house.register(1)
    real = champion.record_switch

    def cut(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        admin(
            server,
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()",
        )

    with monkeypatch.context() as patch:
        patch.setattr(champion, "record_switch", cut)
        with pytest.raises(SetupError, match="terminating connection"):
            house.promote(version)
    assert house.status().champion == "1"


def test_a_database_of_an_older_mlflow_is_migrated_with_what_it_holds(
    server: PostgresqlServer, tmp_path: Path
) -> None:
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config
    from mlflow.store.tracking.dbmodels.initial_models import Base

    admin(server, "CREATE DATABASE older")
    address = uri(server, "older")
    engine = create_engine(address)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        config = _get_alembic_config(address)
        config.attributes["connection"] = connection
        command.upgrade(config, OLDER)
        connection.execute(text("INSERT INTO registered_models (name) VALUES ('machines')"))
        connection.execute(
            text("INSERT INTO model_versions (name, version, current_stage) VALUES ('machines', 3, 'None')")
        )
        connection.execute(
            text(
                "INSERT INTO registered_model_aliases (name, alias, version) VALUES ('machines', 'champion', 3)"
            )
        )
    engine.dispose()
    settings = Settings(home=tmp_path, tracking_uri=address)
    with pytest.raises(ConfigError, match="the database's schema is another MLflow's; install the same"):
        tracking.client(settings)
    mlflow = str(Path(sys.executable).parent / "mlflow")
    for _ in range(2):
        subprocess.run([mlflow, "db", "upgrade", address], check=True, capture_output=True, timeout=120)
    client = tracking.client(settings)
    assert client.get_model_version_by_alias("machines", "champion").version == 3
    forget_connections()


def test_two_processes_may_begin_on_one_fresh_database(server: PostgresqlServer, tmp_path: Path) -> None:
    admin(server, "CREATE DATABASE fresh")
    settings = Settings(home=tmp_path, tracking_uri=uri(server, "fresh"))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.registered"])
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        begun = [pool.submit(tracking.prepare_tracking, settings, "machines") for _ in range(2)]
        assert len({future.result() for future in begun}) == 1


def test_a_record_is_copied_whole_into_an_empty_database_only(
    house: House, server: PostgresqlServer, empty: str, models: Models, tmp_path: Path
) -> None:
    laptop = House(example.settings(tmp_path / "laptop"), models)
    for seed in range(2):
        laptop.promote(laptop.register(seed))
    target = house.settings.tracking_uri
    copied = copy_record(laptop.settings, target)
    assert copied.rows["model_versions"] == 2
    moved = House(msgspec.structs.replace(laptop.settings, tracking_uri=target), models)
    assert registry.history(moved.settings) == registry.history(laptop.settings)
    assert moved.status() == laptop.status()
    experiment = tracking.prepare_tracking(moved.settings, "machines")
    assert experiment == tracking.prepare_tracking(laptop.settings, "machines")
    assert tracking.prepare_tracking(moved.settings, "another") not in ("0", experiment)  # numbers go on
    moved.promote(moved.register(2))
    with pytest.raises(ConfigError, match="name an empty database"):
        copy_record(laptop.settings, target)
    with pytest.raises(ConfigError, match="is no PostgreSQL database"):
        copy_record(laptop.settings, "sqlite:///elsewhere.db")
    with pytest.raises(ConfigError, match="is no SQLite file"):
        copy_record(moved.settings, target)


def test_the_runbook_runs_as_it_stands(server: PostgresqlServer, models: Models, tmp_path: Path) -> None:
    house = House(example.settings(tmp_path / "home"), models)
    shutil.copytree(models.settings.keys, house.settings.home / "keys")
    house.promote(house.register(0), by="ana", why="on a laptop")
    shell = Shell(server, tmp_path, house.settings)
    shell.run("Set-up")
    assert "kept secret" not in shell.env["MLOPS_TRACKING_URI"]
    shell.run("Bring along what a home holds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSFILE", shell.env["PGPASSFILE"])
        here = msgspec.structs.replace(house.settings, tracking_uri=shell.env["MLOPS_TRACKING_URI"])
        assert registry.history(here) == registry.history(house.settings)
        house = House(here, models)
        house.promote(house.register(1), why="seed 1")
        before = registry.history(here)
        shell.run("Backup")
        house.promote(house.register(2))

        shutil.rmtree(here.artifacts)
        shutil.rmtree(here.pointer.parent)
        told = shell.run("Restore")
        assert re.search(r"^differs +nowhere *$", told, flags=re.MULTILINE)
        assert "version 2 → champion (promote) by tester  seed 1" in told
        there = msgspec.structs.replace(here, tracking_uri=shell.env["MLOPS_TRACKING_URI"])
        assert there.tracking_uri.endswith("/mlflow_restored")
        assert registry.history(there) == before
        assert registry.status(there).differences == ()
        restored = House(there, models)
        restored.promote(restored.register(3))
        shell.run("Upgrade and migration")
        assert registry.status(there).champion == "3"
    forget_connections()
